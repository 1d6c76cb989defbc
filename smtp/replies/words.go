package replies

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// The bounds of what is read of one reply. Further octets and words aren't looked at.
const (
	maxText  = 4 << 10 // octets
	maxWords = 256
	maxWord  = 32 // octets of a word; longer ones are in no rule

	// maxQuoted is how many octets a quoted local part has. RFC 5321 §4.5.3.1.3: a path has 256.
	maxQuoted = 256
)

// kind is what a word is.
type kind uint8

const (
	isPlain   kind = iota
	isAddress      // a mail address
	isHost         // a name with a dot, outside of a URL
	isIP           // an IPv4 address
	isURL
	isStatus // an enhanced code, 5.1.1
	isList   // a name of a list in names.txt, alone or in a host or a URL
	kinds    // how many there are
)

// marks stand for the kinds in patterns.
var marks = [kinds]string{isAddress: "@address", isHost: "@host", isIP: "@ip", isURL: "@url", isList: "@list"}

// scan reads the words of text: lower-case runs of letters and digits, without accents and apostrophes, cut down to
// their stems. "User's mail-box is disabled (#5.2.1)" has the words user, mail, box, is, disabl, 5.2.1.
func (in *input) scan(text string) {
	text = text[:min(len(text), maxText)]
	for pos := 0; pos < len(text) && in.n < maxWords; {
		if n := quoted(text[pos:]); n > 0 {
			in.add(0, isAddress, pos, pos+n)
			pos += n
			continue
		}
		if isEnd(text[pos]) {
			pos++
			continue
		}
		from := pos
		for pos < len(text) && !isEnd(text[pos]) {
			pos++
		}
		in.chunk(text, from, pos)
	}
	in.steps += len(text)
}

// quoted returns the length of the address at the start of text if its local part is quoted (RFC 5321 §4.1.2), else 0.
// Its words are those of a sender, who may choose them to have the host's reply misread.
func quoted(text string) int {
	if text[0] != '"' {
		return 0
	}
	end := 1
	for end < len(text) && end < maxQuoted && text[end] != '"' {
		if text[end] == '\\' {
			end++
		}
		end++
	}
	if end+1 >= len(text) || text[end] != '"' || text[end+1] != '@' {
		return 0
	}
	end += 2
	if lit := text[end:min(len(text), end+maxQuoted)]; strings.HasPrefix(lit, "[") { // an address literal
		return end + strings.IndexByte(lit, ']') + 1
	}
	for end < len(text) && !isEnd(text[end]) {
		end++
	}
	return end
}

// isEnd reports whether c separates chunks, in which addresses and URLs are recognised.
func isEnd(c byte) bool {
	switch c {
	case '<', '>', '(', ')', '[', ']', '{', '}', '"', ',', ';', '\\':
		return true
	}
	return c <= ' ' || c == 0x7f
}

// chunk reads the words of text[from:to], which has no ends in it.
func (in *input) chunk(text string, from, to int) {
	for from < to {
		c := text[from:to]
		if i := strings.Index(c, "://"); i >= 0 || strings.HasPrefix(c, "www.") {
			start := max(i, 0)
			for start > 0 && isLetter(c[start-1]) {
				start--
			}
			in.run(text, from, from+start)
			in.location(text, from+max(i+len("://"), 0), to)
			return
		}
		at := strings.IndexByte(c, '@')
		if at < 0 {
			in.run(text, from, to)
			return
		}
		left, right := at, at+1
		for left > 0 && isAtom(c[left-1]) {
			left--
		}
		for right < len(c) && (isLetter(c[right]) || isDigit(c[right]) || c[right] == '.' || c[right] == '-') {
			right++
		}
		in.run(text, from, from+left)
		if left < at && right > at+1 {
			in.add(0, isAddress, from+left, from+right)
		}
		from += right
	}
}

// location reads a URL without its scheme: the lists that its host names, and the words of its query and its fragment.
func (in *input) location(text string, from, to int) {
	loc := text[from:to]
	end := strings.IndexAny(loc, "/?#")
	if end < 0 {
		end = len(loc)
	}
	in.hostname(text, from, from+end, isURL)
	if q := strings.IndexAny(loc, "?#"); q >= 0 {
		in.run(text, from+q+1, to)
	}
}

// hostname adds a name with dots. A label of it may be a list's name.
func (in *input) hostname(text string, from, to int, k kind) {
	id, is := uint16(0), k
	for label := range strings.SplitSeq(text[from:to], ".") {
		var w word
		for i := 0; i < len(label) && i < maxWord; i++ {
			w.push(label[i])
		}
		if n := in.table.listed[string(w.octets[:w.n])]; n != 0 {
			id, is = n, isList
		}
	}
	in.add(id, is, from, to)
}

// word is a word as it is read.
type word struct {
	octets  [maxWord + 1]byte
	n       int
	dots    int
	letters bool
}

func (w *word) push(c byte) {
	if c >= 'A' && c <= 'Z' {
		c += 'a' - 'A'
	}
	w.letters = w.letters || !isDigit(c)
	if w.n < len(w.octets) {
		w.octets[w.n] = c
		w.n++
	}
}

// run reads the words of text[from:to], which has neither addresses nor URLs in it.
func (in *input) run(text string, from, to int) {
	for pos := from; pos < to; {
		var w word
		start := pos
	letters:
		for pos < to {
			c := text[pos]
			switch {
			case c < utf8.RuneSelf && (isLetter(c) || isDigit(c)):
				w.push(c)
			case c == '\'' && w.n > 0: // doesn't
			case c == '.' && w.n > 0 && pos+1 < to && isWord(text[pos+1]):
				w.dots++
			case c >= utf8.RuneSelf:
				r, size := utf8.DecodeRuneInString(text[pos:to])
				if r == utf8.RuneError && size == 1 {
					r = rune(c) // Latin-1
				}
				switch f := fold(r); {
				case f != 0:
					w.push(f)
				case r == '’' && w.n > 0:
				case unicode.IsLetter(r):
					for i := range size {
						w.push(text[pos+i])
					}
				default:
					break letters
				}
				pos += size - 1
			default:
				break letters
			}
			pos++
		}
		if w.dots > 0 && text[pos-1] == '.' { // what follows the dot is no letter after all
			w.dots--
			pos--
		}
		if w.n > 0 {
			in.word(&w, text, start, pos)
		} else {
			pos++
		}
	}
}

// word adds a word, or those in a name with dots.
func (in *input) word(w *word, text string, from, to int) {
	switch {
	case w.dots == 0:
		in.plain(w, from, to)
	case !w.letters && w.dots == 2:
		in.status(text[from:to])
		in.add(0, isStatus, from, to)
	case !w.letters && w.dots == 3:
		in.add(0, isIP, from, to)
	case in.isSentence(text[from:to]):
		for from < to {
			end := to
			if n := strings.IndexByte(text[from:to], '.'); n >= 0 {
				end = from + n
			}
			in.run(text, from, end)
			from = end + 1
		}
	default:
		in.hostname(text, from, to, isHost)
	}
}

// isSentence reports whether a name with dots isn't a host's: it is two sentences without a space between them, as in
// "disabled.Please", or the name of a program's error, as in "RESOLVER.ADR.RecipNotFound".
func (in *input) isSentence(s string) bool {
	i := strings.IndexByte(s, '.')
	if isDigit(s[len(s)-1]) {
		return true // a name with a version
	}
	for j := 1; j < len(s); j++ {
		if s[j] >= 'A' && s[j] <= 'Z' && s[j-1] >= 'a' && s[j-1] <= 'z' {
			return true
		}
	}
	return strings.LastIndexByte(s, '.') == i && s[i+1] >= 'A' && s[i+1] <= 'Z' && i > 0 && s[i-1] >= 'a'
}

func (in *input) plain(w *word, from, to int) {
	if w.n > maxWord {
		in.add(0, isPlain, from, to)
		return
	}
	if id := in.table.listed[string(w.octets[:w.n])]; id != 0 {
		in.add(id, isList, from, to)
		return
	}
	in.add(in.table.ids[string(stem(w.octets[:w.n]))], isPlain, from, to)
}

// status reads an enhanced code of class 4 or 5. The first one counts.
func (in *input) status(s string) {
	if in.enhanced != [2]int{} || s[0] != '4' && s[0] != '5' || s[1] != '.' {
		return
	}
	var code [2]int
	part := -1
	for i := 1; i < len(s); i++ {
		if s[i] == '.' {
			part++
			continue
		}
		if code[part] = code[part]*10 + int(s[i]-'0'); code[part] > 999 {
			return
		}
	}
	in.enhanced = code
}

// stem cuts the endings of a word, so that "blocks", "blocked" and "blocking" are one. It changes b.
func stem(b []byte) []byte {
	if n := len(b); n > 3 && b[n-1] == 's' && b[n-2] != 's' && b[n-2] != 'u' && b[n-2] != 'i' {
		switch {
		case n > 4 && b[n-2] == 'e' && b[n-3] == 'i': // policies
			b = b[:n-2]
		case n > 4 && b[n-2] == 'e' && (b[n-3] == 'x' || b[n-3] == 's' || b[n-3] == 'h'): // mailboxes, addresses
			b = b[:n-2]
		default:
			b = b[:n-1]
		}
	}
	cut := false
	switch n := len(b); {
	case n > 5 && string(b[n-3:]) == "ing":
		b, cut = b[:n-3], true
	case n > 4 && string(b[n-2:]) == "ed" && b[n-3] != 'e': // not exceed
		b, cut = b[:n-2], true
	}
	if n := len(b); cut && n > 3 && b[n-1] == b[n-2] && b[n-1] != 'l' && b[n-1] != 's' {
		b = b[:n-1] // dropped
	}
	if n := len(b); n > 3 && b[n-1] == 'e' {
		b = b[:n-1] // throttle, throttled
	} else if n > 3 && b[n-1] == 'y' {
		b[n-1] = 'i' // policy, policies
	}
	return b
}

func isLetter(c byte) bool { return c|0x20 >= 'a' && c|0x20 <= 'z' }
func isDigit(c byte) bool  { return c >= '0' && c <= '9' }
func isWord(c byte) bool   { return isLetter(c) || isDigit(c) || c >= utf8.RuneSelf }

// isAtom reports whether c may be in the local part of an address.
func isAtom(c byte) bool {
	return isWord(c) || strings.IndexByte("!#$%&'*+-/=?^_`{|}~.", c) >= 0
}

// folds has the letters that are read as the one in front of them.
const folds = "aàáâãäåāăą cçćč dďđ eèéêëēęě gğ iìíîïīı lł " +
	"nñńň oòóôõöøōő rř sßśšş tťţ uùúûüūůű yýÿ zźżž"

// fold returns the ASCII letter of a letter with an accent, or 0.
func fold(r rune) byte {
	base := byte(0)
	for _, f := range folds {
		switch {
		case f < utf8.RuneSelf:
			base = byte(f)
		case f == r || f == unicode.ToLower(r):
			return base
		}
	}
	return 0
}
