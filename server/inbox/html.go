package inbox

import (
	"encoding/base64"
	"net/url"
	"slices"
	"strings"

	"golang.org/x/net/html"
)

// frame makes the document that a browser shows in a frame of its own. Three things keep a mail from the page, the
// network and the cookies, and each of them alone does nearly all of it: the document has nothing that runs or loads;
// its Content-Security-Policy forbids both; and the frame is sandboxed, so that it has no origin.
type frame struct {
	out     strings.Builder
	images  func(id string) string // returns the URL of an image in the mail, or ""
	skip    string                 // the element whose content is left out; "" for none
	depth   int                    // of elements of that name
	Remote  int                    // images, styles and others that aren't loaded
	Links   []string               // each once, the first of them
	dropped int                    // links beyond maxLinks
}

const (
	maxLinks   = 100
	maxAttrs   = 100      // of an element
	maxInlined = 16 << 20 // octets of the images in a document
)

// begin makes a page light, as most mail is written for.
const begin = `<!DOCTYPE html><html><head><meta charset="utf-8"><meta name="color-scheme" content="light">` +
	`<style>html{background:#fff;color:#000;font:1rem/1.4 system-ui,sans-serif;overflow-wrap:anywhere}` +
	`img{max-width:100%}a{color:#0550ae;text-decoration:underline}</style>`

// kept are the elements that are kept. Others are left out, and their content stays.
var kept = words(`a abbr address article aside b bdi bdo big blockquote body br caption center cite code col colgroup
	dd del details dfn dir div dl dt em figcaption figure font footer h1 h2 h3 h4 h5 h6 header hr i img ins kbd li main
	mark nav ol p pre q s samp section small span strike strong style sub summary sup table tbody td tfoot th thead time
	tr tt u ul var wbr`)

// emptied are the elements whose content is left out, too: it isn't text, or is read by other rules.
var emptied = words(`applet audio canvas frameset iframe math noembed noframes noscript object plaintext script
	select svg template textarea title video xmp`)

// attributes are those that are kept: none of them loads or runs anything, except what the policy forbids in a style.
var attributes = words(`abbr align alt axis bgcolor border cellpadding cellspacing char class clear color cols colspan
	compact dir face frame headers height hspace id lang noshade nowrap open reversed role rowspan rules scope size span
	start style summary title type valign value vspace width`)

func words(s string) map[string]bool {
	set := make(map[string]bool)
	for word := range strings.FieldsSeq(s) {
		set[word] = true
	}
	return set
}

// render writes the HTML of a mail. It works on tokens: nested elements need no memory.
func (f *frame) render(source string) string {
	f.out.WriteString(begin)
	z := html.NewTokenizer(strings.NewReader(source))
	for {
		switch z.Next() {
		case html.ErrorToken:
			return f.out.String()
		case html.TextToken:
			f.text(z)
		case html.StartTagToken, html.SelfClosingTagToken:
			f.start(z.Token())
		case html.EndTagToken:
			f.end(z.Token().Data)
		}
	}
}

func (f *frame) text(z *html.Tokenizer) {
	switch f.skip {
	case "":
		f.out.WriteString(html.EscapeString(z.Token().Data))
	case "style": // has no markup and no escapes: the tokenizer ends it where a browser does
		css := string(z.Raw())
		f.Remote += strings.Count(strings.ToLower(css), "url(") + strings.Count(strings.ToLower(css), "@import")
		f.out.WriteString(css)
	}
}

func (f *frame) start(t html.Token) {
	name := t.Data
	if f.skip == "style" {
		f.end("style") // can't be: a style ends before the next tag
	}
	switch {
	case f.skip != "":
		if name == f.skip && t.Type == html.StartTagToken {
			f.depth++
		}
		return
	case emptied[name]:
		f.count(t.Attr)
		// Only foreign elements can end where they begin; "<script/>" goes on.
		if t.Type == html.StartTagToken || name != "svg" && name != "math" {
			f.skip, f.depth = name, 1
		}
		return
	case !kept[name]:
		f.count(t.Attr)
		return
	case name == "style":
		f.out.WriteString("<style>")
		f.skip = "style"
		return
	}
	f.out.WriteString("<" + name)
	var seen []string
	for _, a := range t.Attr[:min(len(t.Attr), maxAttrs)] {
		if a.Namespace != "" || slices.Contains(seen, a.Key) {
			continue
		}
		seen = append(seen, a.Key)
		switch {
		case name == "img" && a.Key == "src":
			if image := f.image(a.Val); image != "" {
				f.attr("src", image)
			}
		case name == "a" && a.Key == "href":
			f.link(a.Val)
			f.attr("title", a.Val) // inert: the page lists the links
		case a.Key == "title" && name == "a":
		case attributes[a.Key]:
			f.attr(a.Key, a.Val)
			if a.Key == "style" {
				f.Remote += strings.Count(strings.ToLower(a.Val), "url(")
			}
		default:
			f.count([]html.Attribute{a})
		}
	}
	f.out.WriteString(">")
}

func (f *frame) attr(key, value string) {
	f.out.WriteString(" " + key + `="` + html.EscapeString(value) + `"`)
}

func (f *frame) end(name string) {
	switch {
	case f.skip == "style" && name == "style":
		f.out.WriteString("</style>")
		f.skip = ""
	case f.skip != "" && name == f.skip:
		if f.depth--; f.depth == 0 {
			f.skip = ""
		}
	case f.skip == "" && kept[name]:
		f.out.WriteString("</" + name + ">")
	}
}

// count counts what isn't loaded.
func (f *frame) count(attrs []html.Attribute) {
	for _, a := range attrs {
		switch a.Key {
		case "src", "srcset", "background", "poster", "data", "href":
			if !strings.HasPrefix(a.Val, "#") {
				f.Remote++
			}
		}
	}
}

// image returns the URL of an image that the document has in itself, or "".
func (f *frame) image(src string) string {
	src = strings.TrimSpace(src)
	scheme, id, _ := strings.Cut(src, ":")
	switch {
	case strings.EqualFold(scheme, "data") && strings.HasPrefix(strings.ToLower(id), "image/"):
		return src
	case strings.EqualFold(scheme, "cid"):
		if unescaped, err := url.PathUnescape(id); err == nil {
			id = unescaped
		}
	default:
		id = src // perhaps a Content-Location
	}
	image := f.images(id)
	if image == "" {
		f.Remote++
	}
	return image
}

func (f *frame) link(href string) {
	href = strings.TrimSpace(href)
	u, err := url.Parse(href)
	if err != nil || !slices.Contains([]string{"http", "https", "mailto"}, u.Scheme) || slices.Contains(f.Links, href) {
		return
	}
	if len(f.Links) == maxLinks {
		f.dropped++
		return
	}
	f.Links = append(f.Links, href)
}

// newFrame makes the document of a mail's HTML.
func newFrame(mail *Mail) (f *frame, document string) {
	room := maxInlined
	made := make(map[*Part]string)
	f = &frame{images: func(id string) string {
		if id == "" {
			return ""
		}
		i := slices.IndexFunc(mail.Parts, func(p Part) bool { return p.ContentID == id || p.location == id })
		if i < 0 {
			return ""
		}
		p := &mail.Parts[i]
		image, ok := made[p]
		if !ok && base64.StdEncoding.EncodedLen(len(p.raw)) <= 2*maxInlined {
			content := p.Decode()
			if kind := imageType(content); kind != "" {
				image = "data:" + kind + ";base64," + base64.StdEncoding.EncodeToString(content)
			}
		}
		made[p] = image // also if it is none: it isn't decoded again
		if room -= len(image); room < 0 {
			return ""
		}
		return image
	}}
	return f, f.render(mail.HTML)
}
