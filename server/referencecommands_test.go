package server

import (
	"regexp"
	"strconv"
	"strings"
)

// command runs a command whose syntax is good.
func (r *reference) command(text string, l line) {
	switch l.verb {
	case "EHLO", "HELO", "LHLO":
		r.want(text, "250")
		r.reset()
		r.hello, r.esmtp = true, l.verb != "HELO"
	case "MAIL":
		r.mail(text, l)
	case "RCPT":
		r.rcpt(text, l)
	case "DATA":
		r.data(text)
	case "RSET":
		r.want(text, "250")
		r.reset()
	case "QUIT":
		r.want(text, "221")
		r.closed = true
	case "NOOP":
		r.want(text, "250")
	case "HELP":
		r.want(text, "211", "214")
	case "VRFY":
		r.want(text, "250", "251", "252", "550", "551", "553", "502", "504")
	case "EXPN":
		r.want(text, "250", "252", "550", "502", "504")
	case "STARTTLS":
		r.startTLS(text)
	case "AUTH":
		r.auth(text, l)
	case "XCLIENT":
		r.xclient(text, l)
	}
}

func (r *reference) reset() {
	r.open, r.chunks, r.void, r.binary, r.from, r.to, r.text, r.owed = false, false, false, false, "", nil, "", 0
}

func (r *reference) mail(text string, l line) {
	switch {
	case !r.hello || r.open:
		r.want(text, "503")
		return
	case l.code != "":
		if r.void {
			r.want(text, l.code, "503")
			return
		}
		r.want(text, l.code)
		return
	case r.void:
		if r.want(text, "250", "503") != "250" {
			return
		}
	default:
		r.want(text, "250")
	}
	r.reset()
	r.open, r.from, r.binary = true, l.arg, strings.HasSuffix(text, "BINARYMIME")
}

func (r *reference) rcpt(text string, l line) {
	switch {
	case !r.open || r.chunks:
		r.want(text, "503")
	case l.code != "":
		r.want(text, l.code)
	default:
		r.want(text, "250")
		r.to = append(r.to, l.arg)
	}
}

// data runs DATA and reads the message.
func (r *reference) data(text string) {
	switch {
	case !r.open || r.chunks || r.binary:
		r.want(text, "503") // RFC 3030 §2 and §3
		return
	case len(r.to) == 0 && r.lmtp:
		r.want(text, "503") // RFC 2033 §4.2
		return
	case len(r.to) == 0:
		r.want(text, "503", "554")
		return
	}
	if r.in == "" && len(r.more) == 0 && len(r.replies) == 0 {
		r.closed = true // it may have seen that the client left
		return
	}
	r.want(text, "354")
	r.in = "\r\n" + r.in // RFC 5321 §4.1.1.4: the first CRLF is that of DATA
	content, ok := r.until("\r\n.\r\n")
	if !ok {
		r.closed = true
		return
	}
	content = strings.TrimSuffix(content, ".\r\n")
	content = strings.ReplaceAll(content, "\r\n.", "\r\n")[2:]
	r.end("the end of "+text, content, bad(content))
}

// end is the end of a message. It reports whether the message was accepted for a recipient.
func (r *reference) end(what, content string, bad bool) (accepted bool) {
	code := "250"
	switch {
	case bad:
		code = "521"
		r.closed = true
	case len(content) > refMaxSize:
		code = "552"
	case strings.Contains(content, "refuse me"):
		code = "550"
	}
	from, to := r.from, r.to
	r.reset()
	if !r.lmtp {
		r.want(what, code)
		if code == "250" {
			r.mails = append(r.mails, from+">"+strings.Join(to, ",")+" "+content)
		}
		return code == "250"
	}
	// RFC 2033 §4.2: a reply for each recipient, in their order. The Handler refuses "refuse me" for one of them only.
	var served []string
	for _, address := range to {
		if code == "550" && address != "bob@example.net" || code == "250" {
			r.want(what, "250")
			served = append(served, address)
			continue
		}
		r.want(what, code)
	}
	if len(served) > 0 {
		r.mails = append(r.mails, from+">"+strings.Join(served, ",")+" "+content)
	}
	return len(served) > 0
}

var bdatSyntax = regexp.MustCompile(`^(?i:BDAT) ([0-9]{1,18})( (?i:LAST))?$`)

// chunk runs BDAT. RFC 3030 §2: the octets are read in any case.
func (r *reference) chunk(text string) {
	m := bdatSyntax.FindStringSubmatch(text)
	if m == nil {
		r.want(text, "501")
		r.closed = true
		return
	}
	size, _ := strconv.Atoi(m[1])
	refused := ""
	switch {
	case r.void || !r.open:
		refused = "503"
	case len(r.to) == 0 && r.lmtp:
		refused = "503"
	case len(r.to) == 0:
		refused = "503 554"
	case len(r.text)+size > refMaxSize:
		refused = "552"
	}
	replies, owed := 1, r.owed
	if r.open {
		owed = len(r.to)
	}
	if r.lmtp && m[2] != "" {
		replies, owed = owed, 0 // RFC 2033 §4.3: none without a recipient
	}
	if refused != "" && size > refMaxDrain {
		for range replies {
			r.want(text, strings.Fields(refused)...)
		}
		r.closed = true
		return
	}
	octets, ok := r.take(size)
	if !ok {
		r.closed = true
		return
	}
	if refused != "" {
		for range replies {
			r.want(text, strings.Fields(refused)...)
		}
		r.reset()
		r.void, r.owed = true, owed
		return
	}
	r.next(text, octets, m[2] != "")
}

// take takes n octets.
func (r *reference) take(n int) (string, bool) {
	for len(r.in) < n {
		if !r.read() {
			return "", false
		}
	}
	octets := r.in[:n]
	r.in = r.in[n:]
	return octets, true
}

// next adds a chunk to the message.
func (r *reference) next(text, octets string, last bool) {
	r.chunks, r.text = true, r.text+octets
	known := r.text
	if !last {
		known = strings.TrimSuffix(known, "\r") // its LF may come
	}
	switch void := bad(known) && !r.binary; {
	case last:
		r.void = !r.end(text, r.text, void) // and what follows of it is refused
	case void:
		r.want(text, "521")
		r.closed = true
	default:
		r.want(text, "250")
	}
}

// startTLS runs STARTTLS. RFC 3207 §4: nothing may follow it before its reply, and all is forgotten.
func (r *reference) startTLS(text string) {
	switch {
	case r.tls || r.open || !r.esmtp:
		r.want(text, "503")
	case r.in != "":
		r.want(text, "554")
		r.closed = true
	default:
		r.want(text, "220")
		r.reset()
		r.tls, r.hello, r.esmtp, r.user = true, false, false, false
	}
}

// auth runs AUTH.
func (r *reference) auth(text string, l line) {
	if !r.esmtp || r.open || r.user {
		r.want(text, "503")
		return
	}
	if l.code != "" && l.code != "334" {
		r.want(text, l.code)
		r.user = l.code == "235"
		return
	}
	r.want(text, "334")
	first, ok := r.response()
	if !ok {
		return
	}
	if l.arg == "SCRAM" {
		if l.code == "334" || first != scramFirst {
			r.verdict(first, false)
			return
		}
		r.want(first, "334")
		if proof, ok := r.response(); ok {
			r.verdict(proof, false)
		}
		return
	}
	if l.arg == "PLAIN" {
		r.verdict(first, first == goodPlain)
		return
	}
	if first == b64("ann") {
		r.want(first, "334")
	} else if r.want(first, "334", "501") != "334" {
		return
	}
	if second, ok := r.response(); ok {
		r.verdict(second, first == b64("ann") && second == b64("secret"))
	}
}

// response reads a response. If ok is false, the exchange has ended.
func (r *reference) response() (text string, ok bool) {
	text, ok = r.readLine()
	switch {
	case !ok:
		r.closed = true
		return "", false
	case r.oddLine(text):
		return "", false
	case text == "*":
		r.want(text, "501")
		return "", false
	}
	return text, true
}

func (r *reference) verdict(response string, right bool) {
	if right {
		r.want(response, "235")
		r.user = true
		return
	}
	r.want(response, "501", "535")
}

// xclient runs XCLIENT: the session begins again, with a greeting.
func (r *reference) xclient(text string, l line) {
	switch {
	case r.open:
		r.want(text, "503")
		return
	case l.code != "":
		r.want(text, l.code)
		return
	}
	r.want(text, "220")
	r.reset()
	r.hello, r.esmtp = l.arg == "hello", l.arg == "hello"
	r.user = l.arg == "user" // the proxy's own login isn't its client's
}
