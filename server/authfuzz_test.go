package server

import (
	"bytes"
	"testing"

	"github.com/postrider/postrider/internal/scram"
)

// FuzzMechanisms feeds two messages to each mechanism. Nobody but ann logs in, and not without the secret in a message.
// By SCRAM nobody does: the proof depends on a nonce that the client can't know.
func FuzzMechanisms(f *testing.F) {
	for _, s := range [][2]string{
		{"\x00ann\x00secret", ""}, {"ann\x00ann\x00secret", ""}, {"ann", "secret"}, {"n,,n=ann,r=abc", "c=biws,r=abc,p=" + b64("x")},
		{"y,a=ann,n=ann,r=abc,x=1", "c=eSws,r=abc,x=1,p=" + b64(string(make([]byte, 32)))},
		{"n,a=ann,\x01host=mx.test\x01auth=Bearer good\x01\x01", "\x01"}, {"n,,\x01auth=bearer bad\x01\x01", "\x01"},
		{"user=ann\x01auth=Bearer good\x01\x01", ""}, {"p=tls-exporter,,n=a=2Cb,r=abc", ""},
	} {
		f.Add([]byte(s[0]), []byte(s[1]))
	}
	f.Fuzz(func(t *testing.T, first, second []byte) {
		srv := &Server{
			Handler: &desk{}, Authenticate: authenticate, StoredCredentials: stored, CheckToken: checkToken,
			AllowInsecureAuth: true, SCRAMIterations: scram.MinIterations,
		}
		if bytes.Contains(first, []byte("panic")) {
			t.Skip("authenticate panics")
		}
		_, far := newPipe("198.51.100.7")
		s := newSession(srv, far)
		for _, name := range s.mechanisms() {
			m := s.newMechanism(name)
			var username string
			for _, response := range [][]byte{first, second, {}} {
				var err error
				if _, username, err = m.next(t.Context(), response); err != nil || username != "" {
					break
				}
			}
			all := append(bytes.Clone(first), second...)
			if username != "" && (username != "ann" || name == scram.SHA256 ||
				!bytes.Contains(all, []byte("secret")) && !bytes.Contains(all, []byte("good"))) {
				t.Errorf("%s: got user %q after %q, %q", name, username, first, second)
			}
		}
		if n := len(srv.guesses.tallies); n > 2 {
			t.Errorf("got %d tallies of one network, want two at most", n)
		}
	})
}
