package compose

import (
	"strings"
	"testing"
	"unicode/utf8"
)

func TestTextOf(t *testing.T) {
	for _, tt := range []struct{ name, html, want string }{
		{"nothing", "", ""},
		{"text", "Hello  you", "Hello you\n"},
		{"paragraphs", "<p>one<p>two</p>\n<p>three</p>", "one\n\ntwo\n\nthree\n"},
		{"breaks", "one<br>two<br/>\n three<br><br><br><br>four", "one\ntwo\nthree\n\nfour\n"},
		{"a document", "<!DOCTYPE html><html><head><title>T</title><style>b{}</style></head><body><h1>H</h1><div>a</div><div>b</div></body></html>", "H\n\na\nb\n"},
		{"a link", `See <a href="https://a.example/x?y=1&amp;z=2">the page</a>.`, "See the page <https://a.example/x?y=1&z=2>.\n"},
		{"a link that is its text", `<a href="https://a.example/">https://a.example/</a> <a href="mailto:a@b.example">a@b.example</a>`, "https://a.example/ a@b.example\n"},
		{"a link to nowhere", `<a href="#top">top</a> <a href="javascript:x()">x</a> <a>y</a>`, "top x y\n"},
		{"a link around a picture", `<a href="https://a.example/"><img src="x" alt="Shop"></a>`, "Shop <https://a.example/>\n"},
		{"a link around nothing", `a<a href="https://a.example/"><img src="x"></a>`, "a<https://a.example/>\n"},
		{"lists", "<ul><li>one<li>two <b>bold</b></ul><ol><li>a<li>b</ol>", "- one\n- two bold\n\n1. a\n2. b\n"},
		{"a table", "<table><tr><th>What<th>Price</tr><tr><td>Tea</td><td>3</td></tr></table>", "What Price\nTea 3\n"},
		{"entities", "a &lt; b &amp; c&nbsp;d &euro; &#233;", "a < b & c d € é\n"},
		{"pre", "<pre>if a {  \n    b()\n}</pre> <p> c", "if a {\n    b()\n}\n\nc\n"},
		{"hidden", `<p style="Display: none">x</p><div hidden>y</div><script>z</script>seen`, "seen\n"},
		{"invisible", "a\u200bb\u00ad&zwnj;c", "abc\n"},
		{"a rule", "a<hr>b", "a\n\n----\n\nb\n"},
		{"open elements", "<p><b>a<td>b</p", "ab\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got, err := TextOf(tt.html); got != tt.want || err != nil {
				t.Errorf("got %q, %v; want %q", got, err, tt.want)
			}
		})
	}
	if _, err := TextOf(strings.Repeat("<div>", 100_000)); err == nil {
		t.Error("got no error for elements 100,000 deep")
	}
	// If each item looked at those before it, this would take an hour.
	text, err := TextOf("<ol><li>a<ol><li>b</ol><li hidden>" + strings.Repeat("<li>x", 500_000))
	if err != nil || !strings.HasPrefix(text, "1. a\n\n1. b\n\n2. x\n") || !strings.HasSuffix(text, "\n500001. x\n") {
		t.Errorf("a long list: got %.40q, %v", text, err)
	}
}

func FuzzTextOf(f *testing.F) {
	f.Add("<p>one<p>two</p><a href='https://a.example'>x</a><pre> a\n b</pre>")
	f.Add(`<img src="cid:a"><ol><li>x<li>y`)
	f.Fuzz(func(t *testing.T, html string) {
		text, err := TextOf(html)
		if err != nil {
			return
		}
		if utf8.ValidString(html) && !utf8.ValidString(text) {
			t.Errorf("got %q, which isn't UTF-8", text)
		}
		if text != "" && (!strings.HasSuffix(text, "\n") || strings.HasPrefix(text, "\n") || strings.Contains(text, "\n\n\n")) {
			t.Errorf("got %q, want lines, and at most one that is empty", text)
		}
	})
}
