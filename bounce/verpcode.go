package bounce

import (
	"encoding/base32"
	"strconv"
	"strings"
	"time"
)

// The content of a signed address is a row of symbols of 5 bits, each written as one character of base32 (RFC 4648 §6),
// so that a letter of an address takes one character. In this order:
//
//	flags, 1 symbol; the day, 3 symbols
//	the ID: a number in base 36 with flagNumber, unless flagNoID is set; else a text
//	the recipient: a text or, with flagHash, 13 symbols
//	the Tenant, a text; the Ref, a text
//
// A text ends at the symbol "end"; at the end of the content, these may be missing. A number has 4 bits in a symbol,
// the lowest first, and the fifth bit is set in all but its last one.
const (
	flagHash     = 1 << iota // a hash in place of the recipient
	flagNumber               // the ID is a number
	flagNoID                 // left out
	flagNoTenant             // left out
	flagNoRef                // left out
)

// Symbols of a text. Those below 26 are letters, in lower case at its start.
const (
	symDot   = 26
	symAt    = 27
	symShift = 28 // the next symbol is one of marks, symLock or symCase; within marks, it ends symLock
	symDash  = 29
	symOctet = 30 // the next two symbols are an octet
	symEnd   = 31

	symLock = 26 // after symShift: marks follow, up to the next symShift
	symCase = 27 // after symShift: the letters after it have the other case
)

// marks are the symbols below 26 after symShift.
const marks = "0123456789_+=/!#$%&'*?^{}~"

// base32Lower is the alphabet of RFC 4648 §6 in lower case.
const base32Lower = "abcdefghijklmnopqrstuvwxyz234567"

var lower32 = base32.NewEncoding(base32Lower).WithPadding(base32.NoPadding)

// symbolsOf returns the first n groups of 5 bits of b.
func symbolsOf(b []byte, n int) []byte {
	symbols, _ := symbols32(lower32.EncodeToString(b)[:n]) // what EncodeToString returns is valid
	return symbols
}

// text32 returns symbols as text.
func text32(symbols []byte) string {
	b := make([]byte, len(symbols))
	for i, s := range symbols {
		b[i] = base32Lower[s]
	}
	return string(b)
}

// symbols32 is the reverse of text32.
func symbols32(text string) (symbols []byte, ok bool) {
	symbols = make([]byte, len(text))
	for i := range len(text) {
		switch c := text[i]; {
		case 'a' <= c && c <= 'z':
			symbols[i] = c - 'a'
		case '2' <= c && c <= '7':
			symbols[i] = c - '2' + 26
		default:
			return nil, false
		}
	}
	return symbols, true
}

// encodeSent returns the content for s, in at most room symbols. What is left out is as the doc of Sent says.
func encodeSent(s Sent, key []byte, room int) []byte {
	recipient := canonical(s.Recipient)
	head := byte(0)
	id, isNumber := appendNumber(nil, s.ID)
	if isNumber {
		head |= flagNumber
	} else {
		id = appendText(nil, s.ID)
	}
	hash := recipientHash(key, recipient)
	literal, tenant, ref := appendText(nil, recipient), appendText(nil, s.Tenant), appendText(nil, s.Ref)
	days := dayOf(s.Day)
	row := func(flags byte, parts ...[]byte) []byte {
		b := []byte{flags, byte(days >> 10 & 31), byte(days >> 5 & 31), byte(days & 31)}
		for len(parts[len(parts)-1]) == 1 { // an empty text
			parts = parts[:len(parts)-1]
		}
		for _, p := range parts {
			b = append(b, p...)
		}
		if flags&flagHash != 0 && len(parts) == 2 {
			return b // the hash has no end
		}
		return b[:len(b)-1]
	}
	noRef, noTenant := byte(0), byte(0)
	if s.Ref != "" {
		noRef = flagNoRef
	}
	if s.Tenant != "" {
		noTenant = flagNoTenant
	}
	none := appendText(nil, "")
	whole := [][]byte{
		row(head, id, literal, tenant, ref),
		row(head|noRef, id, literal, tenant),
		row(head|noRef|noTenant, id, literal),
		row(head|noRef|flagHash, id, hash[:], tenant),
		row(head|noRef|noTenant|flagHash, id, hash[:]),
		row(noRef|noTenant|flagNoID, none, literal),
	}
	for _, b := range whole {
		if len(b) <= room {
			return b
		}
	}
	return row(noRef|noTenant|flagNoID|flagHash, none, hash[:])
}

// dayOf returns the number of a day in UTC.
func dayOf(t time.Time) int { return int(t.Unix() / int64(day/time.Second)) }

// decodeSent is the reverse of encodeSent. Of the days that have the same 15 bits, it takes the one nearest to now.
func decodeSent(b []byte, now time.Time) (s *Sent, ok bool) {
	if len(b) < 1+dayLen {
		return nil, false
	}
	flags := b[0]
	days := dayOf(now) - int(int16((dayOf(now)-(int(b[1])<<10|int(b[2])<<5|int(b[3])))<<1)>>1)
	b = b[1+dayLen:]
	s = &Sent{
		Day:       time.Unix(int64(days)*int64(day/time.Second), 0).UTC(),
		IDLeftOut: flags&flagNoID != 0, TenantLeftOut: flags&flagNoTenant != 0, RefLeftOut: flags&flagNoRef != 0,
	}
	if flags&flagNumber != 0 {
		s.ID, b, ok = cutNumber(b)
	} else {
		s.ID, b, ok = cutText(b)
	}
	if !ok {
		return nil, false
	}
	if flags&flagHash != 0 {
		if len(b) < hashLen {
			return nil, false
		}
		s.hash, b = [hashLen]byte(b), b[hashLen:]
	} else if s.Recipient, b, ok = cutText(b); !ok || s.Recipient == "" {
		return nil, false
	}
	if s.Tenant, b, ok = cutText(b); !ok {
		return nil, false
	}
	if s.Ref, b, ok = cutText(b); !ok || len(b) > 0 {
		return nil, false
	}
	return s, true
}

// appendNumber appends an ID that is a number in base 36, as those of spool and mem are. ok is false if it isn't.
func appendNumber(b []byte, id string) (_ []byte, ok bool) {
	n, err := strconv.ParseUint(id, 36, 64)
	if err != nil || strconv.FormatUint(n, 36) != id {
		return b, false
	}
	for ; n > 15; n >>= 4 {
		b = append(b, byte(n&15|16))
	}
	return append(b, byte(n)), true
}

func cutNumber(b []byte) (id string, rest []byte, ok bool) {
	var n uint64
	for i, s := range b {
		if i == 16 {
			break // over 64 bits
		}
		n |= uint64(s&15) << (4 * i)
		if s < 16 {
			return strconv.FormatUint(n, 36), b[i+1:], true
		}
	}
	return "", nil, false
}

// appendText appends a text and its end.
func appendText(b []byte, text string) []byte {
	locked, upper := false, false
	unlock := func() {
		if locked {
			b, locked = append(b, symShift), false
		}
	}
	for i := 0; i < len(text); i++ {
		c := text[i]
		mark := strings.IndexByte(marks, c)
		switch {
		case mark >= 0 && locked:
			b = append(b, byte(mark))
		case mark >= 0 && run(text[i:], isMark) >= 4:
			b, locked = append(b, symShift, symLock, byte(mark)), true
		case mark >= 0:
			b = append(b, symShift, byte(mark))
		case c == '.':
			b = append(b, symDot)
		case c == '@':
			b = append(b, symAt)
		case c == '-':
			b = append(b, symDash)
		case isLetter(c) && upper == isUpper(c):
			unlock()
			b = append(b, c|0x20-'a')
		case isLetter(c) && (upper || run(text[i:], isUpper) >= 2):
			unlock()
			b, upper = append(b, symShift, symCase, c|0x20-'a'), !upper
		default:
			b = append(b, symOctet, c>>5, c&31)
		}
	}
	return append(b, symEnd)
}

// run returns how many of the first octets of text are of one kind.
func run(text string, is func(byte) bool) int {
	n := 0
	for n < len(text) && is(text[n]) {
		n++
	}
	return n
}

func isMark(c byte) bool   { return strings.IndexByte(marks, c) >= 0 }
func isUpper(c byte) bool  { return 'A' <= c && c <= 'Z' }
func isLetter(c byte) bool { return 'A' <= c && c <= 'Z' || 'a' <= c && c <= 'z' }

// cutText reads a text up to its end, or to the end of b.
func cutText(b []byte) (text string, rest []byte, ok bool) {
	var t strings.Builder
	locked, first := false, byte('a')
	for i := 0; i < len(b); i++ {
		switch s := b[i]; {
		case s < 26 && locked:
			t.WriteByte(marks[s])
		case s < 26:
			t.WriteByte(first + s)
		case s == symDot:
			t.WriteByte('.')
		case s == symAt:
			t.WriteByte('@')
		case s == symDash:
			t.WriteByte('-')
		case s == symEnd:
			return t.String(), b[i+1:], true
		case s == symOctet:
			if i+2 >= len(b) || b[i+1] > 7 {
				return "", nil, false
			}
			t.WriteByte(b[i+1]<<5 | b[i+2])
			i += 2
		case locked: // symShift
			locked = false
		default: // symShift
			if i++; i == len(b) {
				return "", nil, false
			}
			switch s := b[i]; {
			case s < 26:
				t.WriteByte(marks[s])
			case s == symLock:
				locked = true
			case s == symCase:
				first ^= 'a' ^ 'A'
			default:
				return "", nil, false
			}
		}
	}
	return t.String(), nil, true
}
