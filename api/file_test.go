package api

import (
	"encoding/json"
	"reflect"
	"testing"
)

func FuzzFileEntryJSON(f *testing.F) {
	f.Add("name.txt", int64(12))
	f.Add("a \"quoted\" <b> & \\ \n \x7f\x00", int64(-1))
	f.Add("no utf-8 \xff, separators \u2028\u2029, Zürich", int64(0))
	f.Add("", int64(1)<<62)
	f.Fuzz(func(t *testing.T, text string, size int64) {
		// Every member has the text, so that a new one is not forgotten.
		e := FileEntry{Size: size}
		for _, field := range reflect.ValueOf(&e).Elem().Fields() {
			if field.Kind() == reflect.String {
				field.SetString(text)
			}
		}
		want, err := json.Marshal(e)
		if err != nil {
			t.Fatal(err)
		}
		if got := e.AppendJSON([]byte("[")); string(got) != "["+string(want) {
			t.Errorf("%s, want %s", got[1:], want)
		}
	})
}
