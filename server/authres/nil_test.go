package authres

import (
	"testing"

	"github.com/postrider/postrider/server"
)

// idle is a content that returns neither octets nor an error.
type idle struct{}

func (idle) Size() int64                       { return 10 }
func (idle) ReadAt([]byte, int64) (int, error) { return 0, nil }

// TestIdleContent: a content that makes no progress is an error, not a wait without end.
func TestIdleContent(t *testing.T) {
	if _, err := (&Verifier{Resolver: newZone("")}).Verify(t.Context(), Mail{Content: idle{}}); err == nil {
		t.Error("got no error")
	}
}

// TestNilResults: those that Of returns for a client that authenticated may be passed on.
func TestNilResults(t *testing.T) {
	r := Of(nil)
	if err := Enforce(t.Context(), new(server.Session), r); err != nil {
		t.Errorf("Enforce: got %v, want no error", err)
	}
	if err := Mark(t.Context(), nil, r); err != nil {
		t.Errorf("Mark: got %v, want no error", err)
	}
	if got := r.String(); got != "none" {
		t.Errorf("got %q, want none", got)
	}
	if got, want := r.Field("mx.test").String(), new(Results).Field("mx.test").String(); got != want {
		t.Errorf("got field %q, want %q", got, want)
	}
}
