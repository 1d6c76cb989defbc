package mx

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/postrider/postrider/smtp"
)

func TestExplicit(t *testing.T) {
	tests := []struct {
		name  string
		addrs []string
		want  string // empty: an error
		hosts []Host
	}{
		{name: "name", addrs: []string{"Mail.Example.com:587"}, want: "smarthost:mail.example.com:587", hosts: []Host{{Name: "mail.example.com", Port: 587}}},
		{name: "IPv4", addrs: []string{"127.0.0.1:25"}, want: "smarthost:127.0.0.1:25", hosts: []Host{{Name: "127.0.0.1", Port: 25}}},
		{name: "IPv6", addrs: []string{"[::1]:25"}, want: "smarthost:[::1]:25", hosts: []Host{{Name: "::1", Port: 25}}},
		{name: "socket", addrs: []string{"/run/lmtp.sock"}, want: "smarthost:/run/lmtp.sock", hosts: []Host{{Path: "/run/lmtp.sock"}}},
		{name: "two", addrs: []string{"a.test:1", "b.test:2"}, want: "smarthost:a.test:1,b.test:2", hosts: []Host{{Name: "a.test", Port: 1}, {Name: "b.test", Port: 2}}},
		{name: "Unicode", addrs: []string{"bücher.example:25"}, want: "smarthost:xn--bcher-kva.example:25", hosts: []Host{{Name: "xn--bcher-kva.example", Port: 25}}},
		{name: "none"},
		{name: "no port", addrs: []string{"a.test"}},
		{name: "port 0", addrs: []string{"a.test:0"}},
		{name: "port too large", addrs: []string{"a.test:65536"}},
		{name: "port by name", addrs: []string{"a.test:smtp"}},
		{name: "no name", addrs: []string{":25"}},
		{name: "bad name", addrs: []string{"a b:25"}},
		{name: "IPv6 without brackets", addrs: []string{"::1:25"}},
		{name: "relative path", addrs: []string{"run/lmtp"}},
		{name: "too many", addrs: slices.Repeat([]string{"a.test:1"}, 21)},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			r, err := Smarthost(test.addrs...)
			if (err != nil) != (test.want == "") {
				t.Fatalf("got error %v", err)
			}
			if r.Name != test.want || !slices.Equal(r.Hosts, test.hosts) || r.MX || r.LMTP {
				t.Errorf("got %+v, want %s %v", r, test.want, test.hosts)
			}
		})
	}
	if r, err := LMTP("127.0.0.1:24"); err != nil || !r.LMTP || r.Name != "lmtp:127.0.0.1:24" {
		t.Errorf("LMTP: got %+v, %v", r, err)
	}
}

func TestParseRoute(t *testing.T) {
	for _, tt := range []struct{ name, in, want string }{
		{"host", "relay.test:25", "smarthost:relay.test:25"},
		{"hosts", "a.test:25,b.test:26", "smarthost:a.test:25,b.test:26"},
		{"host called discard", "discard:25", "smarthost:discard:25"},
		{"LMTP", "lmtp:127.0.0.1:24", "lmtp:127.0.0.1:24"},
		{"LMTP socket", "lmtp:/run/lmtp", "lmtp:/run/lmtp"},
		{"discard", "discard", "discard"},
		{"error", "error:550 5.1.1 no such user", "error:550 5.1.1 no such user"},
		{"error without enhanced code", "error:451 ask 7.5 hours later", "error:451 ask 7.5 hours later"},
		{"error without text", "error:550 5.7.1", "error:550 5.7.1"},
		{"error without anything", "error:550", "error:550"},
		{"nothing", "", ""},
		{"no port", "relay.test", ""},
		{"LMTP without address", "lmtp:", ""},
		{"error without code", "error:", ""},
		{"error of text", "error:no such user", ""},
		{"error that is none", "error:250 2.0.0 ok", ""},
		{"error 3xx", "error:354 go on", ""},
		{"error with a short code", "error:55 5.1.1 no", ""},
		{"error with a long code", "error:5500 no", ""},
		{"error of two classes", "error:550 4.1.1 no", ""},
		{"error with half an enhanced code", "error:550 5.1 no", ""},
		{"error with four parts", "error:550 5.1.1.1 no", ""},
		{"error with a long part", "error:550 5.1.1000 no", ""},
		{"error of two lines", "error:550 no\r\n250 yes", ""},
		{"error that goes on", "error:550-no", ""},
		{"error with a control character", "error:550 a\x07b\x7f", "error:550 a?b?"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := ParseRoute(tt.in)
			if got.Name != tt.want || (err != nil) != (tt.want == "") || err == nil && got.LMTP != strings.HasPrefix(tt.want, "lmtp:") {
				t.Errorf("got %+v, %v, want %q", got, err, tt.want)
			}
			if err == nil && got.check() != nil || err != nil && !strings.HasPrefix(err.Error(), "mx: ") {
				t.Errorf("got %+v, %v, want a route that can be used", got, err)
			}
		})
	}
}

func TestRefuse(t *testing.T) {
	code := func(a, b, c int) smtp.EnhancedCode { return smtp.EnhancedCode{a, b, c} }
	for _, tt := range []struct {
		name  string
		reply *smtp.Reply
		want  string // empty: an error
	}{
		{"permanent", &smtp.Reply{Code: 550, Enhanced: code(5, 1, 1), Text: "no such user"}, "error:550 5.1.1 no such user"},
		{"temporary", smtp.NewReply(450, "", "later"), "error:450 later"},
		{"lines", smtp.NewReply(550, "", "one\ntwo"), "error:550 one two"},
		{"none", nil, ""},
		{"positive", &smtp.Reply{Code: 250, Enhanced: code(2, 0, 0)}, ""},
		{"intermediate", smtp.NewReply(354, "", ""), ""},
		{"no code", &smtp.Reply{Text: "no"}, ""},
		{"beyond", smtp.NewReply(600, "", ""), ""},
		{"another class", &smtp.Reply{Code: 550, Enhanced: code(4, 1, 1)}, ""},
		{"part too large", &smtp.Reply{Code: 550, Enhanced: code(5, 1, 1000)}, ""},
		{"part below zero", &smtp.Reply{Code: 550, Enhanced: code(5, -1, 1)}, ""},
		{"delete", smtp.NewReply(550, "", "a\x7fb"), ""},
		{"carriage return", smtp.NewReply(550, "", "no\r\n250 yes"), ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			route, err := Refuse(tt.reply)
			if route.Name != tt.want || (err != nil) != (tt.want == "") {
				t.Fatalf("got %q, %v, want %q", route.Name, err, tt.want)
			}
			if err != nil {
				return
			}
			r := &Router{Routes: map[string]Route{"a.test": route}}
			want := *tt.reply
			tt.reply.Text = "changed later"
			destination, err := r.Destination("a.test")
			got, ok := errors.AsType[*smtp.Reply](err)
			if !ok || *got != want || destination != tt.want {
				t.Errorf("Destination: got %q, %v, want %v", destination, err, want)
			}
			named, err := r.Route(t.Context(), "a.test")
			if got, ok = errors.AsType[*smtp.Reply](err); !ok || *got != want || named.Name != tt.want {
				t.Errorf("Route: got %+v, %v, want %v", named, err, want)
			}
			if err := r.Check(); err != nil {
				t.Errorf("Check: got %v, want nil: the routes are right", err)
			}
		})
	}
}

func TestFinal(t *testing.T) {
	deliver := func(context.Context, *smtp.Envelope, smtp.Content) ([]smtp.Result, error) { return nil, nil }
	for _, tt := range []struct {
		route Route
		want  bool
	}{
		{explicitly(Smarthost("a.test:25")), false},
		{explicitly(LMTP("a.test:24")), true},
		{explicitly(LMTP("/run/lmtp")), true},
		{Func("x", deliver), true},
		{Func("x", Discard().Sender.Send), true}, // a method value
		{Discard(), true},
		{Route{Name: "provider", Sender: smtp.SenderFunc(deliver)}, false},
		{explicitly(Refuse(smtp.NewReply(550, "", ""))), false},
		{Route{Name: "a.test", MX: true, Hosts: []Host{{Name: "a.test"}}}, false},
	} {
		if got := tt.route.Final(); got != tt.want {
			t.Errorf("%s: got %v, want %v", tt.route.Name, got, tt.want)
		}
	}
}

func TestDiscard(t *testing.T) {
	results, err := Discard().Sender.Send(t.Context(), nil, nil)
	if results != nil || err != nil {
		t.Errorf("got %v, %v, want nil, nil: delivered to all", results, err)
	}
}
