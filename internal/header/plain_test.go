package header

import "testing"

// FuzzPlainAddress: what is a plain address is one for net/mail, too, and the same one.
func FuzzPlainAddress(f *testing.F) {
	for _, value := range []string{
		"ann@example.com", "<ann@example.com>", " Ann Example <ann.b-2@mail.example.com> ", "a@b", "1 - 2 <a@1>",
	} {
		if _, ok := plainAddress(value); !ok {
			f.Errorf("%q isn't plain", value)
		}
		f.Add(value)
	}
	for _, value := range []string{
		"", "ann", "@b", "a@", "a@b.", ".a@b", "a..b@c", "a@b@c", "a @b", "a@b c", "<a@b", "a@b>", "x <a@b> y",
		"<<a@b>>", "a@b, c@d", "x: a@b;", `"a"@b`, "a@[192.0.2.1]", "Ann (x) <a@b>", "a@b\x00", "ä@b", "a\t@b", "<a@b> <c@d>",
		"Ann <>", "a@b <c@d", "< a@b>",
	} {
		if _, ok := plainAddress(value); ok {
			f.Errorf("%q is plain", value)
		}
		f.Add(value)
	}
	f.Fuzz(func(t *testing.T, value string) {
		got, ok := plainAddress(value)
		if !ok {
			return
		}
		list, err := addressParser.ParseList(value)
		if err != nil || len(list) != 1 || list[0].Address != got {
			t.Errorf("%q: got %q, want %v, %v", value, got, list, err)
		}
	})
}
