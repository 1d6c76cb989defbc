package authres

import (
	"context"
	"net/netip"
	"strings"
	"testing"

	"github.com/postrider/postrider/internal/header"
)

// FuzzVerify evaluates a message, with a key that stands at every name, and looks at the header field.
func FuzzVerify(f *testing.F) {
	f.Add(message(rfc8463), "v=DKIM1; k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=", "ann@football.example.com")
	f.Add(strings.Replace(message(rfc8463), "a=rsa", "l=3; x=1; z=x|y; a=rsa", 1), strings.SplitAfter(rfc8463Zone, " TXT ")[2], "")
	f.Add("From: Foo, Inc. <a@b.example>, \"(x@y\" (c@d) <e@f\r\nDKIM-Signature: ; v=1;;\r\n", "p=AAAA; t=s:y; h=sha256; s=*", "@")
	f.Add("DKIM-Signature : b=\r\n\r\n\r\n \r\n\t\r\r\n", "v=DMARC1; p=reject", "x@[192.0.2.1]")
	f.Add("", "v=spf1 +all", "\x00@\xff")
	f.Fuzz(func(t *testing.T, text, record, from string) {
		z := everywhere{newZone("192.0.2.1 PTR h.example\nh.example A 192.0.2.1"), record}
		r, err := (&Verifier{Resolver: z}).Verify(t.Context(), Mail{IP: netip.MustParseAddr("192.0.2.1"), Hello: "h.example", From: from, Content: strings.NewReader(text)})
		if err != nil {
			return // the header is too long
		}
		if len(r.DKIM) > maxSignatures+1 || len(r.From) > header.MaxDomains {
			t.Errorf("got %d signatures, %d domains", len(r.DKIM), len(r.From))
		}
		for _, s := range r.DKIM {
			if (s.Verdict == Pass) != (s.Err == nil) || s.Verdict == None || s.Verdict > PermError || len(s.Start) > 8 {
				t.Errorf("got %+v", s)
			}
		}
		value := r.Field("mx.test").Value
		for line := range strings.SplitSeq(value, "\r\n") {
			if !strings.HasPrefix(line, " ") && !strings.HasPrefix(line, "\t") || len(line) > 998 ||
				strings.TrimSpace(line) == "" || strings.ContainsFunc(line[1:], func(c rune) bool { return c < ' ' || c > '~' }) {
				t.Errorf("got line %q of %q", line, value)
			}
		}
	})
}

// everywhere has the same TXT record at every name.
type everywhere struct {
	*zone
	record string
}

func (e everywhere) LookupTXT(context.Context, string) ([]string, error) {
	return []string{e.record}, nil
}
