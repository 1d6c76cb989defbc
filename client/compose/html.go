package compose

import (
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/net/html"
	"golang.org/x/net/html/atom"
)

// TextOf returns HTML as plain text. Paragraphs, items of lists and rows of tables become lines. A link is followed by
// its address, and a picture becomes its alternative text. Elements with the attribute hidden, or with the style
// display:none, are left out. Elements that are nested over 512 deep are an error.
func TextOf(source string) (string, error) {
	root, err := html.Parse(strings.NewReader(source))
	if err != nil {
		return "", err
	}
	t := plainText{items: make(map[*html.Node]int)}
	t.add(root)
	if t.b.Len() > 0 {
		t.b.WriteByte('\n')
	}
	return t.b.String(), nil
}

// plainText is text in the making. Line ends and spaces are written together with the next word.
type plainText struct {
	b      strings.Builder
	breaks int // line ends before the next word
	spaces int // before the next word
	pre    int // elements around it that keep their spaces

	items map[*html.Node]int // so far, in each ordered list
}

func (t *plainText) add(n *html.Node) {
	switch n.Type {
	case html.TextNode:
		t.text(n.Data)
	case html.ElementNode:
		t.element(n)
	default:
		t.children(n)
	}
}

func (t *plainText) children(n *html.Node) {
	for c := n.FirstChild; c != nil; c = c.NextSibling {
		t.add(c)
	}
}

func (t *plainText) element(n *html.Node) {
	if isHidden(n) {
		return
	}
	switch n.DataAtom {
	case atom.Head, atom.Script, atom.Style, atom.Title, atom.Template, atom.Noscript, atom.Object, atom.Svg:
	case atom.Br:
		t.breaks++
	case atom.Hr:
		t.block(2, func() { t.text("----") })
	case atom.Img:
		t.text(attribute(n, "alt"))
	case atom.A:
		t.link(n)
	case atom.Pre, atom.Textarea:
		t.pre++
		t.block(2, func() { t.children(n) })
		t.pre--
	case atom.Li:
		t.block(1, func() {
			t.text(t.bullet(n))
			t.spaces = 1
			t.children(n)
		})
	case atom.Td, atom.Th:
		t.spaces = 1
		t.children(n)
		t.spaces = 1
	case atom.P, atom.H1, atom.H2, atom.H3, atom.H4, atom.H5, atom.H6, atom.Ul, atom.Ol, atom.Dl, atom.Table,
		atom.Blockquote, atom.Form, atom.Fieldset, atom.Figure:
		t.block(2, func() { t.children(n) })
	case atom.Div, atom.Tr, atom.Dt, atom.Dd, atom.Section, atom.Article, atom.Header, atom.Footer, atom.Main, atom.Nav,
		atom.Aside, atom.Address, atom.Center, atom.Caption, atom.Figcaption, atom.Option:
		t.block(1, func() { t.children(n) })
	default:
		t.children(n)
	}
}

// block calls f between line ends: two make an empty line.
func (t *plainText) block(breaks int, f func()) {
	t.breaks = max(t.breaks, breaks)
	f()
	t.breaks = max(t.breaks, breaks)
}

func (t *plainText) link(n *html.Node) {
	before := t.b.Len()
	t.children(n)
	label := strings.TrimSpace(t.b.String()[before:])
	href := strings.TrimSpace(attribute(n, "href"))
	if label == href || "mailto:"+label == href ||
		!strings.HasPrefix(href, "https://") && !strings.HasPrefix(href, "http://") &&
			!strings.HasPrefix(href, "mailto:") {
		return
	}
	t.spaces = min(len(label), 1)
	t.text("<" + href + ">")
}

// bullet returns what stands before an item of a list.
func (t *plainText) bullet(n *html.Node) string {
	if n.Parent == nil || n.Parent.DataAtom != atom.Ol {
		return "-"
	}
	t.items[n.Parent]++
	return strconv.Itoa(t.items[n.Parent]) + "."
}

// text adds text. Outside of pre, white space is one space, or none at the start of a line.
func (t *plainText) text(s string) {
	for _, c := range s {
		switch {
		case c == '\n' && t.pre > 0:
			t.breaks++
			t.spaces = 0
		case strings.ContainsRune(" \t\r\n\f\u00a0", c):
			if t.pre == 0 {
				t.spaces = 0
			}
			t.spaces++
		case strings.ContainsRune("\u00ad\u034f\u200b\u200c\u2060\ufeff", c): // invisible
		default:
			if t.b.Len() > 0 {
				t.b.WriteString("\n\n"[:min(t.breaks, 2)])
				if t.breaks == 0 || t.pre > 0 {
					t.b.WriteString(strings.Repeat(" ", t.spaces))
				}
			}
			t.breaks, t.spaces = 0, 0
			t.b.WriteRune(c)
		}
	}
}

func isHidden(n *html.Node) bool {
	for _, a := range n.Attr {
		if a.Key == "hidden" {
			return true
		}
		if a.Key == "style" && strings.Contains(strings.ToLower(strings.ReplaceAll(a.Val, " ", "")), "display:none") {
			return true
		}
	}
	return false
}

func attribute(n *html.Node, name string) string {
	for _, a := range n.Attr {
		if a.Key == name {
			return a.Val
		}
	}
	return ""
}

// idLetters are those of a ContentID, which need no escape in a URL or a header.
const idLetters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._+-@"

// withIDs returns HTML in which the URLs of inline files (RFC 2392) have other IDs. A URL without a file is an error.
func withIDs(source string, ids map[string]string) (string, error) {
	const scheme = "cid:"
	var b strings.Builder
	for rest := source; ; {
		i := strings.Index(rest, scheme)
		if i < 0 {
			if b.Len() == 0 {
				return source, nil
			}
			b.WriteString(rest)
			return b.String(), nil
		}
		isURL := i > 0 && strings.IndexByte(`"'(=`, rest[i-1]) >= 0
		b.WriteString(rest[:i+len(scheme)])
		rest = rest[i+len(scheme):]
		if !isURL {
			continue
		}
		end := len(rest) - len(strings.TrimLeft(rest, idLetters))
		id, ok := ids[rest[:end]]
		if !ok {
			return "", fmt.Errorf("HTML shows cid:%.100s, and no file of Inline has this ContentID or Name", rest[:end])
		}
		b.WriteString(id)
		rest = rest[end:]
	}
}
