package bounce

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/postrider/postrider/smtp"
)

func TestParseFailed(t *testing.T) {
	f, err := os.Open(filepath.Join("testdata", "failed.eml"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	n, err := Parse(f)
	if err != nil {
		t.Fatal(err)
	}
	if n.Kind != Bounce || n.OriginalID != "<bill.1@example.com>" || n.ReportingMTA != "mx1.example.com" ||
		len(n.Recipients) != 1 || !strings.HasPrefix(string(n.OriginalHeader), "Received: ") {
		t.Fatalf("got %+v, want a bounce with one recipient and the header of the original", n)
	}
	r := n.Recipients[0]
	if r.Address != "bob@example.net" || r.Action != Failed || r.Status != (smtp.EnhancedCode{5, 1, 1}) ||
		r.RemoteMTA != "mx.example.net" || r.Reason != smtp.UserUnknown || !r.Hard || r.Reply == nil ||
		r.Reply.Code != 550 || r.Text != "No such user here" {
		t.Errorf("got %+v, want the failure of bob@example.net", r)
	}
}
