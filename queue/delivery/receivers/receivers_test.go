package receivers

import (
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/postrider/postrider/queue/delivery"
)

// TestData: the data is as its format wants, and each fact has a source, a date and an address.
func TestData(t *testing.T) {
	l, err := parse(text)
	if err != nil {
		t.Fatal(err)
	}
	date := regexp.MustCompile(`^20\d\d-[01]\d$`)
	names := make(map[string]bool)
	for _, p := range l {
		if names[p.Name] {
			t.Errorf("%s is there twice", p.Name)
		}
		names[p.Name] = true
		facts := 0
		for _, r := range p.Rules {
			if r.Text == "" || r.Title == "" || !date.MatchString(r.Date) || !strings.HasPrefix(r.URL, "https://") {
				t.Errorf("%s: got the rule %+v, want a source, a date and an address", p.Name, r)
			}
			if !strings.HasPrefix(r.Text, "hosts ") {
				facts++
			}
		}
		if facts == 0 {
			t.Errorf("%s: nothing is known", p.Name)
		}
	}
	for _, name := range []string{"google", "yahoo", "outlook", "microsoft365", "microsoft365-dane", "apple", "gmx",
		"orange", "comcast", "qq", "netease", "mimecast", "barracuda"} {
		if !names[name] {
			t.Errorf("%s isn't there", name)
		}
	}
}

func TestSite(t *testing.T) {
	tests := []struct{ site, want string }{
		{"aspmx.l.google.com,alt1.aspmx.l.google.com,alt2.aspmx.l.google.com", "google"},
		{"alt1.gmail-smtp-in.l.google.com,gmail-smtp-in.l.google.com", "google"},
		{"ASPMX.L.Google.COM.", "google"},
		{"aspmx2.googlemail.com,aspmx.l.google.com", "google"}, // two suffixes of one receiver
		{"aspmx.l.google.com,mx.example.net", ""},              // a domain with a host of its own
		{"aspmx.l.google.com,mta5.am0.yahoodns.net", ""},       // two receivers
		{"notgoogle.com", ""},
		{"google.com.example.net", ""},
		{"mta5.am0.yahoodns.net,mta6.am0.yahoodns.net", "yahoo"},
		{"mx-aol.mail.gm0.yahoodns.net", "yahoo"},
		{"outlook-com.olc.protection.outlook.com", "outlook"},
		{"example-net.mail.protection.outlook.com", "microsoft365"},
		{"example-net.a-v1.mx.microsoft", "microsoft365-dane"},
		{"mx01.mail.icloud.com,mx02.mail.icloud.com", "apple"},
		{"mx00.gmx.net,mx01.gmx.net", "gmx"},
		{"mx-ha02.web.de,mx-ha03.web.de", "gmx"},
		{"smtp-in.orange.fr", "orange"},
		{"mx1.comcast.net,mx2h1.comcast.net", "comcast"},
		{"mx1.qq.com,mx2.qq.com,mx3.qq.com", "qq"},
		{"163mx01.mxmail.netease.com", "netease"},
		{"eu-smtp-inbound-1.mimecast.com,eu-smtp-inbound-2.mimecast.com", "mimecast"},
		{"d123.a.ess.barracudanetworks.com,d123.b.ess.barracudanetworks.com", "barracuda"},
		{"", ""},
		{",", ""},
		{"smarthost", ""}, // an explicit route
	}
	for _, tt := range tests {
		p, ok := Default().Site(tt.site)
		if got := ""; ok != (tt.want != "") || ok && p.Name != tt.want {
			if ok {
				got = p.Name
			}
			t.Errorf("%s: got %q, want %q", tt.site, got, tt.want)
		}
	}
}

func TestFacts(t *testing.T) {
	l := Default()
	if got := l.MaxMessages("mta5.am0.yahoodns.net"); got != 20 {
		t.Errorf("Yahoo: got %d messages a connection, want 20", got)
	}
	if got, want := l.SiteFor("mx00.gmx.net,mx01.gmx.net"), (delivery.SiteLimits{Concurrency: 4}); got != want {
		t.Errorf("GMX: got %+v, want %+v", got, want)
	}
	google, _ := l.Site("aspmx.l.google.com")
	if want := (delivery.Recovery{Pause: 10 * time.Minute, Start: 1, Step: 1}); google.Recovery != want {
		t.Errorf("Google: got %+v, want %+v", google.Recovery, want)
	}
	if got := l.SiteFor("mx.example.net"); got != (delivery.SiteLimits{}) {
		t.Errorf("a site that nobody knows: got %+v, want no limits", got)
	}
	if got := l.MaxMessages("mx.example.net"); got != 0 {
		t.Errorf("a host that nobody knows: got %d messages, want 0", got)
	}
	own := append(List{{Name: "own", Hosts: []string{".gmx.net."}, Connections: 2}}, l...)
	if got := own.SiteFor("mx00.gmx.net").Concurrency; got != 2 {
		t.Errorf("a Profile in front: got Concurrency %d, want 2", got)
	}
	if got := List(nil).SiteFor("mx00.gmx.net"); got != (delivery.SiteLimits{}) {
		t.Errorf("an empty List: got %+v, want no limits", got)
	}
	l[0].Name = "changed"
	if Default()[0].Name != "google" {
		t.Error("a change to a List changes the others")
	}
}

func TestParse(t *testing.T) {
	const head = "source s 2026-01 https://example.net/ A page\nreceiver r\n hosts example.net : s\n"
	l, err := parse(head + " rate 60 1m : s\n restart 2 3 : s\n")
	if err != nil {
		t.Fatal(err)
	}
	p := l[0]
	if p.Rate != (delivery.Rate{Messages: 60, Per: time.Minute}) || p.Recovery != (delivery.Recovery{Start: 2, Step: 3}) ||
		p.Rules[1] != (Rule{"rate 60 1m", "A page", "https://example.net/", "2026-01"}) {
		t.Errorf("got %+v", p)
	}
	for _, bad := range []string{
		"hosts example.net : s", head + "messages 20", head + "messages 20 : t", head + "messages many : s",
		head + "messages -1 : s", head + "pause soon : s", head + "colour 3 : s", "receiver r", "source s",
		head + "rate 60 : s", head + "rate many 1m : s", head + "rate 60 0s : s", head + "restart x 1 : s", head + "restart 1 : s",
		head + "restart 1 x : s", head + "receiver q\nmessages 3 : s", head + "connections 2000000 : s",
	} {
		if _, err := parse(bad); err == nil {
			t.Errorf("%q: got no error", bad)
		}
	}
}

func TestCheck(t *testing.T) {
	host := []string{"example.net"}
	tests := []struct {
		name string
		p    Profile
		want string
	}{
		{"no hosts", Profile{Name: "a"}, "Hosts"},
		{"dots", Profile{Hosts: []string{"."}}, "Hosts"},
		{"a site", Profile{Hosts: []string{"a.test,b.test"}}, "Hosts"},
		{"a wildcard", Profile{Hosts: []string{"*.a.test"}}, "Hosts"},
		{"connections", Profile{Hosts: host, Connections: -1}, "Connections"},
		{"start", Profile{Hosts: host, Start: -1}, "Start"},
		{"messages", Profile{Hosts: host, Messages: -1}, "Messages"},
		{"pause", Profile{Hosts: host, Recovery: delivery.Recovery{Pause: -1}}, "Recovery.Pause"},
		{"restart", Profile{Hosts: host, Recovery: delivery.Recovery{Start: -1}}, "Recovery.Start"},
		{"step", Profile{Hosts: host, Recovery: delivery.Recovery{Step: -1}}, "Recovery.Step"},
		{"rate", Profile{Hosts: host, Rate: delivery.Rate{Messages: 1}}, "Rate"},
	}
	for _, tt := range tests {
		if err := (List{{Hosts: host}, tt.p}).Check(); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: got the error %v, want one about %s", tt.name, err, tt.want)
		}
	}
}
