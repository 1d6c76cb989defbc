package server

import (
	"context"
	"io"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/postrider/postrider/smtp"
)

// TestChunksChecked: a Content check sees a message in chunks whole, before the Handler gets it. Its refusal is the reply
// to the last chunk.
func TestChunksChecked(t *testing.T) {
	content := []string{"Subject: x\r\n\r\n", strings.Repeat("a line\r\n", 20_000), "the end\r\n"}
	for _, refuse := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			d, seen := &desk{}, int64(0)
			check := Check{Name: "look", Content: func(_ context.Context, _ *Session, m *Message) error {
				seen, _ = io.Copy(io.Discard, m.Reader())
				if refuse {
					return smtp.NewReply(550, "5.7.1", "spam")
				}
				return nil
			}}
			c := newWorld(t, &Server{Handler: d, Checks: []Check{check}, TempDir: t.TempDir()}).dial()
			c.ask(talked)
			whole, last := strings.Join(content, ""), "250"
			if refuse {
				last = "550"
			}
			c.want(bdat(content[0])+bdat(content[1])+bdat(content[2], " LAST")+mail, "250", "250", last, "250")
			if seen != int64(len(whole)) {
				t.Errorf("got %d octets in the check, want %d", seen, len(whole))
			}
			mails := d.all()
			if refuse && len(mails) != 0 || !refuse && (len(mails) != 1 || mails[0].body != whole) {
				t.Errorf("got %d mails, refused: %t", len(mails), refuse)
			}
		})
	}
}
