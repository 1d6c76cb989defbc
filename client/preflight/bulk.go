package preflight

import (
	"net/url"
	"slices"
	"strings"
)

const bulkPages = "RFC 8058 §3.1; " + gmailPage + "; " + yahooPage

// checkUnsubscribe looks at List-Unsubscribe and List-Unsubscribe-Post: in bulk mail both must be there, and in other
// mail they must be right if they are there.
func (m *message) checkUnsubscribe() {
	value, ok := m.value("list-unsubscribe")
	post, oneClick := m.value("list-unsubscribe-post")
	if !ok {
		if m.checker.Bulk {
			m.refuse(NoUnsubscribe, "List-Unsubscribe", "there is none, and the mail is bulk",
				"add one with an https URI, and List-Unsubscribe-Post", bulkPages)
		}
		if oneClick {
			m.refuse(BadUnsubscribe, "List-Unsubscribe-Post", "there is no List-Unsubscribe beside it", "add it",
				"RFC 8058 §3.1")
		}
		return
	}
	uris := listURIs(value)
	secure := slices.ContainsFunc(uris, func(u *url.URL) bool { return u.Scheme == "https" && u.Host != "" })
	switch {
	case len(uris) == 0:
		m.refuse(BadUnsubscribe, "List-Unsubscribe", clip(value)+" has no URI in angle brackets",
			"write it as <https://example.com/unsubscribe?...>", "RFC 2369 §2")
	case !secure && (oneClick || m.checker.Bulk):
		m.refuse(BadUnsubscribe, "List-Unsubscribe", clip(value)+" has no https URI", "add one that takes a POST",
			bulkPages)
	}
	switch {
	case !oneClick && m.checker.Bulk:
		m.refuse(NoUnsubscribe, "List-Unsubscribe-Post", "there is none, and the mail is bulk",
			"add List-Unsubscribe-Post: List-Unsubscribe=One-Click", bulkPages)
	case oneClick && post != "List-Unsubscribe=One-Click":
		m.refuse(BadUnsubscribe, "List-Unsubscribe-Post", clip(post)+" is no one-click",
			"set it to List-Unsubscribe=One-Click", "RFC 8058 §3.1")
	}
	signatures := m.all("dkim-signature")
	if oneClick && len(signatures) > 0 && !slices.ContainsFunc(signatures, coversUnsubscribe) {
		m.refuse(UnsignedOneClick, "DKIM-Signature", "h= of no signature has both fields: receivers offer no one-click",
			"sign List-Unsubscribe and List-Unsubscribe-Post", "RFC 8058 §4")
	}
}

// coversUnsubscribe reports whether a DKIM-Signature covers both fields.
func coversUnsubscribe(f field) bool {
	tags, err := parseTags(f.value)
	names := strings.Split(strings.ToLower(strings.Join(strings.Fields(tags["h"]), "")), ":")
	return err == nil && slices.Contains(names, "list-unsubscribe") && slices.Contains(names, "list-unsubscribe-post")
}

// listURIs returns the URIs in angle brackets (RFC 2369 §2). Blanks within them don't count.
func listURIs(value string) (uris []*url.URL) {
	for {
		_, rest, ok := strings.Cut(value, "<")
		if !ok {
			return uris
		}
		text, rest, ok := strings.Cut(rest, ">")
		if !ok {
			return uris
		}
		value = rest
		if u, err := url.Parse(strings.Join(strings.Fields(text), "")); err == nil && u.Scheme != "" {
			uris = append(uris, u)
		}
	}
}
