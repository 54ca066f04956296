package sandboxagent

import (
	"bytes"
	"encoding/json"
	"reflect"
	"testing"

	"github.com/sandboxagent/sandboxagent/api"
)

func FuzzDecodeEvent(f *testing.F) {
	for _, text := range []string{
		`{"id":"a:1","eventIndex":1,"sessionId":"a","createdAt":5,"connectionId":"c","sender":"agent","payload":{"a":[1,"}"]}}`,
		`{"payload":{"a":1},"id":"a"}`, `{"id":"a","payload":{},"more":1}`, `{"id":"a","payload": null }`, `{,"payload":1}`,
		`{ ,"payload":1}`, `{"id":"x,"payload":1}`, `{"a":{"b":1,"payload":2}}`, `{"id":"\",\"payload\":","payload":1}`,
		`{"id":"a","payload":1,"payload":2}`, `{"id":1,"payload":2}`, `,"payload":}`, `{"id":"a","payload":}`, ``, `{}`,
	} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var want api.SessionEvent
		wantErr := json.Unmarshal(bytes.Clone(data), &want)
		got, err := decodeEvent(bytes.Clone(data))
		if (err == nil) != (wantErr == nil) || err == nil && !reflect.DeepEqual(got, want) {
			t.Errorf("%q gives %+v, %v; want %+v, %v", data, got, err, want, wantErr)
		}
	})
}
