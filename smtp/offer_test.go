package smtp

import (
	"reflect"
	"strings"
	"testing"
)

// TestOffer writes MAIL and RCPT, and reads them again.
func TestOffer(t *testing.T) {
	env := &Envelope{From: "ann@bücher.example", Ret: RetHeaders, EnvID: "a b+c", RequireTLS: true, TLSOptional: true}
	rcpt := &Recipient{Address: "bob@example.net", Notify: NotifySuccess | NotifyDelay, ORCPT: "utf-8;bøb@example.org"}
	tests := []struct {
		name  string
		offer Offer
		want  string
		env   Envelope
		rcpt  Recipient
	}{
		{"bare", Offer{Size: -1}, "MAIL FROM:<ann@xn--bcher-kva.example>\r\nRCPT TO:<bob@example.net>\r\n",
			Envelope{From: "ann@xn--bcher-kva.example"}, Recipient{Address: rcpt.Address}},
		{"size", Offer{Body: Body8BitMIME}, "MAIL FROM:<ann@xn--bcher-kva.example> SIZE=0 BODY=8BITMIME\r\nRCPT TO:<bob@example.net>\r\n",
			Envelope{From: "ann@xn--bcher-kva.example", Body: Body8BitMIME}, Recipient{Address: rcpt.Address}},
		{"DSN", Offer{Size: -1, DSN: true}, "MAIL FROM:<ann@xn--bcher-kva.example> RET=HDRS ENVID=a+20b+2Bc\r\n" +
			"RCPT TO:<bob@example.net> NOTIFY=SUCCESS,DELAY ORCPT=utf-8;b\\x{F8}b@example.org\r\n",
			Envelope{From: "ann@xn--bcher-kva.example", Ret: RetHeaders, EnvID: env.EnvID}, *rcpt},
		{"REQUIRETLS", Offer{Size: -1, RequireTLS: true}, "MAIL FROM:<ann@xn--bcher-kva.example> REQUIRETLS\r\nRCPT TO:<bob@example.net>\r\n",
			Envelope{From: "ann@xn--bcher-kva.example", RequireTLS: true}, Recipient{Address: rcpt.Address}},
		{"all", Offer{Size: 12, Body: BodyBinaryMIME, UTF8: true, DSN: true, RequireTLS: true}, "MAIL FROM:<ann@bücher.example> SIZE=12 BODY=BINARYMIME SMTPUTF8 RET=HDRS ENVID=a+20b+2Bc REQUIRETLS\r\n" +
			"RCPT TO:<bob@example.net> NOTIFY=SUCCESS,DELAY ORCPT=utf-8;bøb@example.org\r\n",
			Envelope{From: env.From, Size: 12, Body: BodyBinaryMIME, UTF8: true, Ret: RetHeaders, EnvID: env.EnvID, RequireTLS: true}, *rcpt},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := string(rcpt.AppendRcpt(env.AppendMail(nil, tt.offer), tt.offer))
			if got != tt.want {
				t.Errorf("got  %q\nwant %q", got, tt.want)
			}
			mail, to, _ := strings.Cut(strings.TrimSuffix(got, "\r\n"), "\r\n")
			if e, err := ParseMail(strings.TrimPrefix(mail, "MAIL ")); err != nil || !reflect.DeepEqual(*e, tt.env) {
				t.Errorf("ParseMail: got %+v and %v, want %+v", e, err, tt.env)
			}
			if r, err := ParseRcpt(strings.TrimPrefix(to, "RCPT ")); err != nil || r != tt.rcpt {
				t.Errorf("ParseRcpt: got %+v and %v, want %+v", r, err, tt.rcpt)
			}
		})
	}
}

// TestOfferLong: each parameter is within the bound of its RFC, and without an address's parameters the command has 512
// octets at most.
func TestOfferLong(t *testing.T) {
	tests := []struct {
		name string
		rcpt Recipient
		utf8 bool
		want string
	}{
		{"address of 500", Recipient{Address: strings.Repeat("a", 498) + "@b"}, false,
			"RCPT TO:<" + strings.Repeat("a", 498) + "@b>\r\n"},
		{"ORCPT in UTF-8 of 500", Recipient{Address: "a@b", ORCPT: "utf-8;" + strings.Repeat("ü", 247)}, true,
			"RCPT TO:<a@b> ORCPT=utf-8;" + strings.Repeat("ü", 247) + "\r\n"},
		{"the same without SMTPUTF8", Recipient{Address: "a@b", ORCPT: "utf-8;" + strings.Repeat("ü", 247)}, false,
			"RCPT TO:<a@b>\r\n"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			env := Envelope{Recipients: []Recipient{tt.rcpt}}
			if err := env.Check(); err != nil {
				t.Fatal(err)
			}
			got := string(tt.rcpt.AppendRcpt(nil, Offer{UTF8: tt.utf8, DSN: true}))
			if got != tt.want {
				t.Errorf("got  %q\nwant %q", got, tt.want)
			}
			if tt.rcpt.ORCPT == "" && len(got) > 512 {
				t.Errorf("got %d octets, want 512 at most", len(got))
			}
		})
	}
}
