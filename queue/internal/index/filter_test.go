package index

import "testing"

// TestAddressAt compares domains without case, as A-labels, and those that have no A-label too.
func TestAddressAt(t *testing.T) {
	for _, test := range []struct {
		filter, domain string
		want           bool
	}{
		{"example.com", "example.com", true},
		{"Example.COM", "example.com", true},
		{"example.com", "Example.COM", true},
		{"example.com", "example.org", false},
		{"bücher.example", "xn--bcher-kva.example", true},
		{"xn--bcher-kva.example", "Bücher.example", true},
		{"no domain!", "No Domain!", true},
		{"no domain!", "no domain", false},
	} {
		f := &address{domain: asciiDomain(test.filter)}
		if got := f.at(test.domain); got != test.want {
			t.Errorf("filter %q, domain %q: got %v, want %v", test.filter, test.domain, got, test.want)
		}
	}
}
