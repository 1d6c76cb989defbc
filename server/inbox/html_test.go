package inbox

import (
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/html"
)

// checkFrame checks that a document has nothing that runs, loads or leads somewhere, as a browser reads it.
func checkFrame(t *testing.T, mail *Mail) string {
	t.Helper()
	_, document := newFrame(mail)
	root, err := html.Parse(strings.NewReader(document))
	if err != nil {
		return document // nested too deeply for this parser
	}
	for n := range root.Descendants() {
		if n.Type != html.ElementNode {
			continue
		}
		ours := n.Data == "meta" && n.Parent.Data == "head" || n.Data == "head" || n.Data == "html"
		if !ours && !kept[n.Data] {
			t.Errorf("the document has a <%s>", n.Data)
		}
		if n.Namespace != "" {
			t.Errorf("the document has the %s element <%s>", n.Namespace, n.Data)
		}
		for _, a := range n.Attr {
			image := n.Data == "img" && a.Key == "src" && strings.HasPrefix(strings.ToLower(a.Val), "data:image/")
			meta := n.Data == "meta" && slices.Contains([]string{"charset", "name", "content"}, a.Key) &&
				slices.Contains([]string{"utf-8", "color-scheme", "light"}, a.Val)
			if !image && !meta && !attributes[a.Key] {
				t.Errorf("the document has <%s %s=%q>", n.Data, a.Key, a.Val)
			}
		}
	}
	return document
}

const png = "\x89PNG\r\n\x1a\n"

// TestFrame: what a mail may show stays, and all else is left out.
func TestFrame(t *testing.T) {
	parts := []Part{{ContentID: "a=b@c", raw: []byte(png)}, {ContentID: "evil", raw: []byte("<svg onload=alert(1)>")}, {location: "pic.png", raw: []byte(png)}}
	const shown = "data:image/png;base64,iVBORw0KGgo="
	for _, tt := range []struct {
		name, html, want string
		remote           int
	}{
		{"text", `<p class=x>a &lt; b <b>c</b>`, `<p class="x">a &lt; b <b>c</b>`, 0},
		{"script", `a<script>alert(1)</script>b<SCRIPT/>alert(2)</SCRIPT >c`, `abc`, 0},
		{"handlers", `<p onclick="x()" ONLOAD=y style="color:red">a`, `<p style="color:red">a`, 0},
		{"image of the mail", `<img src="cid:a=b@c" alt=x><img src=cid:a%3Db@c><img src=pic.png>`,
			`<img src="` + shown + `" alt="x"><img src="` + shown + `"><img src="` + shown + `">`, 0},
		{"no image", `<img src=cid:evil><img src=cid:none>`, `<img><img>`, 2},
		{"remote image", `<img src="http://evil.test/x" srcset="http://evil.test/y 2x" width=1>`, `<img width="1">`, 2},
		{"image in itself", `<img src="data:image/gif;base64,R0lG"><img src="data:text/html,x">`, `<img src="data:image/gif;base64,R0lG"><img>`, 1},
		{"link", `<a href="https://a.test/?x=1&amp;y" target=_top ping=http://evil.test>a</a>`, `<a title="https://a.test/?x=1&amp;y">a</a>`, 0},
		{"frames", `<iframe src=http://evil.test>x</iframe><object data=x><p>y</p></object><embed src=x>z`, `z`, 3},
		{"head", `<head><title>t</title><meta http-equiv=refresh content="0;url=//evil.test"><link rel=preconnect href=//evil.test><base href=//evil.test><style>p{color:red}</style></head>a`,
			`<style>p{color:red}</style>a`, 2},
		{"style", `<style>@import "//evil.test"; p{background:url(//evil.test)}</style><p style="background:url(x)">`,
			`<style>@import "//evil.test"; p{background:url(//evil.test)}</style><p style="background:url(x)">`, 3},
		{"style that isn't closed", `<style><script>alert(1)</script>`, `<style><script>alert(1)</script>`, 0},
		{"foreign", `<svg><style><img src=x onerror=alert(1)></style><svg></svg></svg><math href=x>y</math>z<svg/>w`, `zw`, 1},
		{"form", `<form action=//evil.test><input name=a><button formaction=x>b</button></form>`, `b`, 0},
		{"comment", `a<!-- <script> -->b<![CDATA[c]]>`, `ab`, 0},
		{"quotes", `<p title="&quot;><script>">a`, `<p title="&#34;&gt;&lt;script&gt;">a`, 0},
		{"twice", `<p id=a id=b>`, `<p id="a">`, 0},
		{"noscript", `<noscript><p title="</noscript><img src=x onerror=alert(1)>"></noscript>`, `<img>&#34;&gt;`, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			mail := &Mail{HTML: tt.html, Parts: parts}
			f, _ := newFrame(mail)
			got := strings.TrimPrefix(checkFrame(t, mail), begin)
			if got != tt.want || f.Remote != tt.remote {
				t.Errorf("got %d from elsewhere and %s\nwant %d and %s", f.Remote, got, tt.remote, tt.want)
			}
		})
	}
}

// TestLinks: links that a person may follow are listed, each once.
func TestLinks(t *testing.T) {
	f, _ := newFrame(&Mail{HTML: `<a href=" https://a.test/x "><a href="https://a.test/x"><a href="javascript:alert(1)"><a href="JaVaScRiPt:x">
		<a href=mailto:a@b.test><a href="data:text/html,x"><a href="/x"><a href=http://b.test><a href="` + "\x01" + `javascript:x"><a href="vbscript:x">`})
	if want := []string{"https://a.test/x", "mailto:a@b.test", "http://b.test"}; !slices.Equal(f.Links, want) {
		t.Errorf("got %q, want %q", f.Links, want)
	}
}

// TestFrameBounds: HTML that is made to take long doesn't.
func TestFrameBounds(t *testing.T) {
	const size = maxHTML / 4
	image := Part{ContentID: "x", encoding: "base64", raw: []byte(strings.Repeat("QUFB", 1<<20))}
	for name, source := range map[string]string{
		"nested":     strings.Repeat("<div>", size/5),
		"attributes": "<p " + strings.Repeat("a ", size/2),
		"images":     strings.Repeat("<img src=cid:x>", size/15),
		"links":      strings.Repeat("<a href=http://a.test>", size/22),
		"open":       strings.Repeat("<", size),
		"foreign":    strings.Repeat("<svg>", size/5),
	} {
		begin := time.Now()
		_, document := newFrame(&Mail{HTML: source, Parts: []Part{image}})
		if d := time.Since(begin); d > time.Minute || len(document) > 8*maxHTML+maxInlined {
			t.Errorf("%s took %v and has %d octets", name, d, len(document))
		}
	}
}
