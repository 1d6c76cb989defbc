package suppress_test

import (
	"errors"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/postrider/postrider/bounce/suppress"
	"github.com/postrider/postrider/smtp"
)

func key(t testing.TB, tenant, address string) suppress.Key {
	t.Helper()
	k, err := suppress.KeyOf(tenant, address)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// entries are what both lists have.
type entries interface {
	suppress.List
	Entries() []suppress.Entry
}

// TestList holds the lists to the rules of List.
func TestList(t *testing.T) {
	for name, list := range map[string]entries{"Memory": new(suppress.Memory), "File": open(t, filepath.Join(t.TempDir(), "list"))} {
		t.Run(name, func(t *testing.T) {
			ctx, now := t.Context(), time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC)
			ann, acme := key(t, "", "ann@example.net"), key(t, "acme", "ann@example.net")
			for _, k := range []suppress.Key{ann, acme} {
				e := suppress.Entry{Key: k, Source: suppress.FromBounce, Reason: smtp.UserUnknown, Time: now, Text: "no such user"}
				if err := list.Add(ctx, e); err != nil {
					t.Fatal(err)
				}
				if got, ok, err := list.Has(ctx, k); got != e || !ok || err != nil {
					t.Errorf("got %+v, %t and %v, want %+v", got, ok, err, e)
				}
			}
			if got := addresses(list.Entries()); got != "acme:ann@example.net ann@example.net" {
				t.Errorf("got %s", got)
			}
			e := suppress.Entry{Key: ann, Source: suppress.FromComplaint, Time: now.Add(time.Hour), Until: now.Add(day)}
			list.Add(ctx, e)
			if got, _, _ := list.Has(ctx, ann); got != e {
				t.Errorf("got %+v, want that of the later Add", got)
			}
			for range 2 {
				if err := list.Remove(ctx, ann); err != nil {
					t.Fatal(err)
				}
			}
			if _, ok, _ := list.Has(ctx, ann); ok || len(list.Entries()) != 1 {
				t.Error("got an entry after Remove")
			}

			strike := func(source suppress.Source, id string, after time.Duration) suppress.Tally {
				t.Helper()
				s := suppress.Strike{Source: source, Reason: smtp.MailboxFull, ID: id, Time: now.Add(after), Within: 10 * day}
				tally, err := list.Strike(ctx, ann, s)
				if err != nil {
					t.Fatal(err)
				}
				return tally
			}
			for _, step := range []struct {
				source suppress.Source
				id     string
				after  time.Duration
				count  int
				first  time.Duration
			}{
				{suppress.FromResult, "a", 0, 1, 0},
				{suppress.FromResult, "a", day, 1, 0},
				{suppress.FromResult, "b", 2 * day, 2, 0},
				{suppress.FromResult, "", 2 * day, 3, 0},
				{suppress.FromResult, "", 2 * day, 4, 0},
				{suppress.FromBounce, "b", 3 * day, 1, 3 * day},
				{suppress.FromResult, "c", 12 * day, 5, 0},
				{suppress.FromResult, "c", 23 * day, 1, 23 * day}, // more than 10 days after the last
			} {
				if got := strike(step.source, step.id, step.after); got.Count != step.count || !got.First.Equal(now.Add(step.first)) {
					t.Errorf("%+v: got %+v", step, got)
				}
			}
			for range 2 {
				if err := list.Forgive(ctx, ann); err != nil {
					t.Fatal(err)
				}
			}
			if got := strike(suppress.FromResult, "d", 24*day); got.Count != 1 {
				t.Errorf("got %+v after Forgive, want 1", got)
			}
			if got := strike(suppress.FromBounce, "d", 12*day); got.Count != 2 {
				t.Errorf("got %+v for bounces after Forgive, want 2", got)
			}
			list.Remove(ctx, ann)
			if got := strike(suppress.FromBounce, "e", 12*day); got.Count != 1 {
				t.Errorf("got %+v after Remove, want 1", got)
			}
		})
	}
}

// TestFull: beyond the bound nothing is forgotten.
func TestFull(t *testing.T) {
	file, err := (&suppress.Options{Max: 2}).Open(filepath.Join(t.TempDir(), "list"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { file.Close() })
	for name, list := range map[string]entries{"Memory": &suppress.Memory{Max: 2}, "File": file} {
		t.Run(name, func(t *testing.T) {
			for i, address := range []string{"a@example.net", "b@example.net", "c@example.net", "a@example.net"} {
				err := list.Add(t.Context(), suppress.Entry{Key: key(t, "", address), Time: time.Now()})
				if errors.Is(err, suppress.ErrFull) != (i == 2) {
					t.Errorf("%s: got %v", address, err)
				}
			}
			if got := addresses(list.Entries()); got != "a@example.net b@example.net" {
				t.Errorf("got %s", got)
			}
		})
	}
}

func TestKeyOf(t *testing.T) {
	for _, test := range []struct{ tenant, address, want string }{
		{"", "Ann@EXAMPLE.net", "Ann@example.net"},
		{"", "ann@Müller.example", "ann@xn--mller-kva.example"},
		{"", "ann@xn--mller-KVA.example", "ann@xn--mller-kva.example"},
		{"", "ü@example.net", "ü@example.net"},
		{"acme", "postmaster", "postmaster"},
		{"", "no address", ""},
		{"", "", ""},
		{"\xff", "ann@example.net", ""},
		{strings.Repeat("t", 256), "ann@example.net", ""},
	} {
		k, err := suppress.KeyOf(test.tenant, test.address)
		if k.Address != test.want || (err == nil) != (test.want != "") || err == nil && k.Tenant != test.tenant {
			t.Errorf("%.20q, %q: got %+v and %v, want %q", test.tenant, test.address, k, err, test.want)
		}
	}
}

// TestListRefuses has changes that a file couldn't be read with. Neither list may take them: a program with a Key of its
// own making would lose the entry, or find a damaged file, at its next start.
func TestListRefuses(t *testing.T) {
	ctx, now := t.Context(), time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC)
	good := key(t, "", "ann@example.net")
	tests := []struct {
		name  string
		entry suppress.Entry
		want  string
	}{
		{"no key", suppress.Entry{Time: now}, `address "": `},
		{"no address", suppress.Entry{Key: suppress.Key{Address: "ann"}}, `address "ann": `},
		{"domain in capitals", suppress.Entry{Key: suppress.Key{Address: "ann@EXAMPLE.net"}}, "make it by KeyOf"},
		{"domain in Unicode", suppress.Entry{Key: suppress.Key{Address: "ann@bücher.example"}}, `"ann@xn--bcher-kva.example"`},
		{"tenant", suppress.Entry{Key: suppress.Key{Tenant: "\xff", Address: good.Address}}, "tenant"},
		{"reason", suppress.Entry{Key: good, Reason: 77}, "there is no Reason 77"},
		{"source", suppress.Entry{Key: good, Source: 77}, "there is no Source 77"},
	}
	path := filepath.Join(t.TempDir(), "list")
	file := open(t, path)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			for _, list := range []entries{new(suppress.Memory), file} {
				if err := list.Add(ctx, tt.entry); err == nil || !strings.Contains(err.Error(), tt.want) {
					t.Errorf("%T.Add: got %v, want %q", list, err, tt.want)
				}
				s := suppress.Strike{Source: tt.entry.Source, Reason: tt.entry.Reason, Time: now}
				if _, err := list.Strike(ctx, tt.entry.Key, s); err == nil || !strings.Contains(err.Error(), tt.want) {
					t.Errorf("%T.Strike: got %v, want %q", list, err, tt.want)
				}
				if n := len(list.Entries()); n != 0 {
					t.Errorf("%T: got %d entries after errors", list, n)
				}
			}
		})
	}
	if err := file.Add(ctx, suppress.Entry{Key: good}); err != nil {
		t.Fatal(err)
	}
	file.Close()
	e, ok, err := open(t, path).Has(ctx, good)
	if !ok || err != nil {
		t.Fatalf("got %t and %v, want the good entry", ok, err)
	}
	if got, want := e.Reply().Text, "the address is suppressed (manual)"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
