package model

import (
	"bytes"
	"io"
	"strings"
)

// minSecret is the shortest key that is looked for, in bytes. What is shorter, as
// keys of scripted models are, occurs by chance.
const minSecret = 12

// redactText returns text with stars in place of the key.
func redactText(text, key string) string {
	if len(key) < minSecret {
		return text
	}
	return strings.ReplaceAll(text, key, strings.Repeat("*", len(key)))
}

// redactBody returns body with stars in place of the key. The length stays. It hands
// on what is read at once but for what may be the beginning of the key.
func redactBody(body io.ReadCloser, key string) io.ReadCloser {
	if len(key) < minSecret {
		return body
	}
	return &redacted{ReadCloser: body, key: []byte(key), stars: bytes.Repeat([]byte("*"), len(key))}
}

type redacted struct {
	io.ReadCloser
	key, stars []byte

	pending []byte // searched, to be read
	held    []byte // may be the beginning of the key
	err     error  // of the body, once all is read
	buffer  []byte
}

func (r *redacted) Read(p []byte) (int, error) {
	for len(r.pending) == 0 {
		if r.err != nil {
			return 0, r.err
		}
		if r.buffer == nil {
			r.buffer = make([]byte, 32<<10)
		}
		copied := copy(r.buffer, r.held)
		n, err := r.ReadCloser.Read(r.buffer[copied:])
		text := r.buffer[:copied+n]
		for at := bytes.Index(text, r.key); at >= 0; at = bytes.Index(text, r.key) {
			copy(text[at:], r.stars)
		}
		keep := 0
		if err == nil {
			keep = overlap(text, r.key)
		}
		r.pending, r.held, r.err = text[:len(text)-keep], bytes.Clone(text[len(text)-keep:]), err
	}
	n := copy(p, r.pending)
	r.pending = r.pending[n:]
	return n, nil
}

// overlap returns how many bytes at the end of text are the beginning of key.
func overlap(text, key []byte) int {
	for n := min(len(text), len(key)-1); n > 0; n-- {
		if bytes.HasSuffix(text, key[:n]) {
			return n
		}
	}
	return 0
}
