package inbox

import (
	"io"
	"mime"
	"net/http"
	"strconv"
	"strings"

	"github.com/postrider/postrider/internal/web"
)

// download answers with a file that a browser stores and never shows.
func download(w http.ResponseWriter, r *request, name, contentType string, content []byte) error {
	h := w.Header()
	h.Set("Content-Security-Policy", "sandbox; default-src 'none'; frame-ancestors 'none'")
	h.Set("Content-Disposition", mime.FormatMediaType("attachment", map[string]string{"filename": fileName(name)}))
	h.Set("Content-Type", contentType)
	h.Set("Content-Length", strconv.Itoa(len(content)))
	if r.Method != http.MethodHead {
		w.Write(content) // after an error of the connection there is nobody to tell
	}
	return nil
}

// fileName makes a name that can be seen as a whole, has no directory, and is no hidden file.
func fileName(name string) string {
	name = strings.Map(func(c rune) rune {
		if strings.ContainsRune(`/\:*?"<>|%`, c) || web.Visible(string(c), 1) != string(c) {
			return '_'
		}
		return c
	}, strings.ToValidUTF8(name, "_"))
	name = strings.Trim(name, ". ")
	for len(name) > 200 { // the extension stays
		runes := []rune(name)
		name = string(append(runes[:len(runes)/2-1], runes[len(runes)/2:]...))
	}
	if name == "" {
		return "part"
	}
	return name
}

// raw is the message as it came.
func (in *Inbox) raw(w http.ResponseWriter, r *request) error {
	m, err := in.Message(r.Get("id"))
	if err != nil {
		return err
	}
	return download(w, r, "message-"+m.ID+".eml", "message/rfc822", m.Data)
}

// part is the decoded content of a part. Its type isn't told: a browser might show it.
func (in *Inbox) part(w http.ResponseWriter, r *request) error {
	m, err := in.Message(r.Get("id"))
	if err != nil {
		return err
	}
	mail := m.Read()
	for i := range mail.Parts {
		if p := &mail.Parts[i]; p.Path == r.Get("part") {
			name := p.Name
			if name == "" {
				name = "part-" + p.Path + extension(p.Type)
			}
			return download(w, r, name, "application/octet-stream", p.Decode())
		}
	}
	return web.Fail(http.StatusNotFound, "The message has no such part.")
}

// extension returns that of the file of a part without a name.
func extension(contentType string) string {
	switch contentType {
	case "text/plain":
		return ".txt"
	case "text/html":
		return ".html"
	case "text/calendar":
		return ".ics"
	case "message/rfc822", "message/global":
		return ".eml"
	}
	if _, subtype, ok := strings.Cut(contentType, "image/"); ok {
		return "." + subtype
	}
	return ""
}

// document is the HTML of a message for the frame in its page. Opened by itself, it leads to that page.
func (in *Inbox) document(w http.ResponseWriter, r *request) error {
	m, err := in.Message(r.Get("id"))
	if err != nil {
		return err
	}
	h := w.Header()
	if dest := r.Header.Get("Sec-Fetch-Dest"); dest != "" && dest != "iframe" {
		http.Redirect(w, r.Request.Request, web.Link("message", "id", m.ID), http.StatusSeeOther)
		return nil
	}
	// The sandbox gives the document no origin, so that 'self' is nothing: all that it shows is in itself.
	h.Set("Content-Security-Policy", "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:; "+
		"base-uri 'none'; form-action 'none'; frame-ancestors 'self'")
	h.Set("X-Frame-Options", "SAMEORIGIN")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("X-DNS-Prefetch-Control", "off")
	h.Set("Content-Type", "text/html; charset=utf-8")
	_, document := newFrame(m.Read())
	if r.Method != http.MethodHead {
		io.WriteString(w, document) // after an error of the connection there is nobody to tell
	}
	return nil
}
