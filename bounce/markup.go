package bounce

import (
	"bytes"
	"html"
	"strings"
)

// stripMarkup returns the text of HTML: lines where a block begins or ends, without tags, scripts, styles and comments.
func stripMarkup(b []byte) []byte {
	var out bytes.Buffer
	for len(b) > 0 {
		i := bytes.IndexByte(b, '<')
		if i < 0 {
			i = len(b)
		}
		text := strings.Join(strings.Fields(string(b[:i])), " ")
		if text != "" {
			if isSpace(b[0]) && out.Len() > 0 {
				out.WriteByte(' ')
			}
			out.WriteString(text)
			if isSpace(b[i-1]) {
				out.WriteByte(' ')
			}
		}
		if b = b[i:]; len(b) == 0 {
			break
		}
		if bytes.HasPrefix(b, []byte("<!--")) {
			if i = bytes.Index(b, []byte("-->")); i < 0 {
				break
			}
			b = b[i+3:]
			continue
		}
		if i = bytes.IndexByte(b, '>'); i < 0 {
			break
		}
		tag := tagName(b[1:i])
		b = b[i+1:]
		switch tag {
		case "script", "style", "head", "title":
			if i = indexFold(b, "</"+tag); i < 0 {
				return out.Bytes()
			}
			b = b[i:]
		case "br", "p", "/p", "div", "/div", "tr", "/tr", "li", "/li", "ul", "/ul", "table", "/table", "pre", "/pre",
			"hr", "blockquote", "/blockquote", "h1", "h2", "h3", "h4", "/h1", "/h2", "/h3", "/h4", "td", "/td":
			out.WriteByte('\n')
		}
	}
	return []byte(html.UnescapeString(out.String()))
}

func isSpace(c byte) bool { return c == ' ' || c == '\t' || c == '\n' || c == '\r' }

// tagName returns the name of a tag in lower case, with "/" for one that ends an element.
func tagName(tag []byte) string {
	i := 0
	for i < len(tag) && i < 16 && (isWordByte(tag[i]) || i == 0 && tag[i] == '/') {
		i++
	}
	return strings.ToLower(string(tag[:i]))
}

// indexFold is bytes.Index for an ASCII needle in lower case, whatever the case in b.
func indexFold(b []byte, needle string) int {
	for i := 0; i+len(needle) <= len(b); i++ {
		if b[i]|0x20 == needle[0]|0x20 && strings.EqualFold(string(b[i:i+len(needle)]), needle) {
			return i
		}
	}
	return -1
}
