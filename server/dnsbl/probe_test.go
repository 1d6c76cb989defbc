package dnsbl_test

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postrider/postrider/server/dnsbl"
)

// TestTest: a zone must have the test entries, and not list the others.
func TestTest(t *testing.T) {
	tests := []struct {
		name string
		of   dnsbl.Subject
		dns  *zones
		want string // in the error; "" for none
	}{
		{"a list", 0, &zones{names: map[string][]string{"2.0.0.127.bl.test": {"127.0.0.2"}}}, ""},
		{"empty", 0, &zones{}, "zone bl.test doesn't list 127.0.0.2"},
		{"lists all", 0, &zones{names: map[string][]string{"2.0.0.127.bl.test": {"127.0.0.2"}, "1.0.0.127.bl.test": {"127.0.0.2"}}},
			"zone bl.test lists 127.0.0.1"},
		{"parked", 0, &zones{names: map[string][]string{"2.0.0.127.bl.test": {"192.0.2.1"}, "1.0.0.127.bl.test": {"192.0.2.1"}}},
			"zone bl.test: the answer 192.0.2.1 about 127.0.0.2 is ignored"},
		{"refused", 0, &zones{names: map[string][]string{"2.0.0.127.bl.test": {"127.255.255.254"}}}, "public resolver"},
		{"hangs", 0, &zones{hangs: map[string]bool{"2.0.0.127.bl.test": true}}, "zone bl.test: no answer about 127.0.0.2: i/o timeout"},
		{"fails", 0, &zones{fails: map[string]error{"1.0.0.127.bl.test": errors.New("down")}}, "no answer about 127.0.0.1: down"},
		{"of domains", dnsbl.Sender, &zones{names: map[string][]string{"test.bl.test": {"127.0.0.2"}}}, ""},
		{"of domains, empty", dnsbl.Hello, &zones{}, "zone bl.test doesn't list test"},
		{"of domains, lists all", dnsbl.Hello, &zones{names: map[string][]string{"test.bl.test": {"127.0.0.2"}, "invalid.bl.test": {"127.0.0.2"}}},
			"zone bl.test lists invalid"},
		{"of both, domains missing", dnsbl.Address | dnsbl.Sender, &zones{names: map[string][]string{"2.0.0.127.bl.test": {"127.0.0.2"}}},
			"zone bl.test doesn't list test"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				list := &dnsbl.List{Resolver: tt.dns, Zones: []dnsbl.Zone{{Name: "bl.test", Of: tt.of}}}
				start := time.Now()
				err := list.Test(t.Context())
				if took := time.Since(start); took > 5*time.Second {
					t.Errorf("got a result after %v, want it after 5 s", took)
				}
				if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
					t.Errorf("got %v, want %q", err, tt.want)
				}
			})
		})
	}
}

// TestTestAgain: Test sees a zone that has changed at once.
func TestTestAgain(t *testing.T) {
	dns := &zones{names: map[string][]string{"2.0.0.127.bl.test": {"127.0.0.2"}}}
	list := &dnsbl.List{Resolver: dns, Zones: []dnsbl.Zone{{Name: "bl.test"}}}
	if err := list.Test(t.Context()); err != nil {
		t.Fatal(err)
	}
	dns.names = nil
	if err := list.Test(t.Context()); err == nil {
		t.Error("got no error of a zone that is empty now, want one")
	}
}

// TestFaults: mistakes in the fields are told by the server's Check, and by Test.
func TestFaults(t *testing.T) {
	bl := []dnsbl.Zone{{Name: "bl.test"}}
	zone := func(z dnsbl.Zone) *dnsbl.List { return &dnsbl.List{Zones: []dnsbl.Zone{z}} }
	answer := func(addr string) *dnsbl.List {
		return zone(dnsbl.Zone{Name: "bl.test", Answers: []dnsbl.Answer{{Addr: addr}}})
	}
	tests := []struct {
		name string
		list *dnsbl.List
		want string // "" for no fault
	}{
		{"good", &dnsbl.List{Zones: bl}, ""},
		{"good answers", answer("127.0.0.2"), ""},
		{"a good prefix", answer("127.0.0.4/30"), ""},
		{"a final dot", zone(dnsbl.Zone{Name: "bl.test."}), ""},
		{"a client's name", zone(dnsbl.Zone{Name: "dbl.test", Of: dnsbl.Client}), ""},
		{"no zones", &dnsbl.List{}, "Zones is empty"},
		{"no name", zone(dnsbl.Zone{}), `zone ""`},
		{"a name that is none", zone(dnsbl.Zone{Name: "http://bl.test"}), `zone "http://bl.test"`},
		{"an address", zone(dnsbl.Zone{Name: "[192.0.2.1]"}), `zone "[192.0.2.1]"`},
		{"a subject that is none", zone(dnsbl.Zone{Name: "bl.test", Of: 16}), "Of is 16"},
		{"an answer that is none", answer("2"), `Addr "2"`},
		{"an answer of IPv6", answer("::1"), `Addr "::1"`},
		{"an answer elsewhere", answer("192.0.2.1"), `Addr "192.0.2.1"`},
		{"an answer that is too wide", answer("127.0.0.0/7"), `Addr "127.0.0.0/7"`},
		{"a field", &dnsbl.List{Zones: bl, Field: "X-Spam:"}, `Field "X-Spam:"`},
		{"a threshold", &dnsbl.List{Zones: bl, Threshold: -1}, "Threshold is -1"},
		{"a time", &dnsbl.List{Zones: bl, Timeout: -1}, "Timeout is -1ns"},
		{"a bound", &dnsbl.List{Zones: bl, MaxCache: -1}, "MaxCache is -1"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			err := tt.list.Check().Fault
			if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
			if tt.want != "" && tt.list.Test(t.Context()) == nil {
				t.Error("got no error of Test, want one")
			}
		})
	}
}
