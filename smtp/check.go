package smtp

import (
	"errors"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Check returns an error unless the envelope can be sent: it has at least one recipient, and every address, EnvID,
// ORCPT and Auth obeys its grammar. The number of recipients has no bound, and one may be there twice. No value of an
// envelope that passes can break out of its command. The error names the value and the rule.
func (e *Envelope) Check() error {
	if e == nil {
		return errors.New("smtp: the envelope is nil: make one by NewEnvelope")
	}
	if rule := checkReverse(e.From); rule != "" {
		return fmt.Errorf("smtp: reverse-path %q: %s", shorten(e.From), rule)
	}
	if len(e.Recipients) == 0 {
		return errors.New("smtp: envelope without recipients (RFC 5321 section 3.3)")
	}
	for i := range e.Recipients {
		if err := e.Recipients[i].Check(); err != nil {
			return err
		}
	}
	switch {
	case e.Body > BodyBinaryMIME:
		return fmt.Errorf("smtp: BODY %d: no such type", e.Body)
	case e.Ret > RetFull:
		return fmt.Errorf("smtp: RET %d: no such value", e.Ret)
	case e.Priority < -maxPriority || e.Priority > maxPriority:
		return fmt.Errorf("smtp: MT-PRIORITY %d: not -9 to 9 (RFC 6710 section 3)", e.Priority)
	case e.Size < 0:
		return fmt.Errorf("smtp: SIZE %d: negative (RFC 1870 section 3)", e.Size)
	}
	if e.EnvID != "" {
		rule := checkEnvID(e.EnvID)
		if len(EncodeXtext(e.EnvID)) > maxEnvID {
			rule = "over 100 octets as xtext (RFC 3461 section 4.4)"
		}
		if rule != "" {
			return fmt.Errorf("smtp: ENVID %q: %s", shorten(e.EnvID), rule)
		}
	}
	if e.Auth != "" {
		rule := checkAuth(e.Auth)
		if len(EncodeXtext(e.Auth)) > maxAuth {
			rule = "over 500 octets as xtext (RFC 4954 section 3)"
		}
		if rule != "" {
			return fmt.Errorf("smtp: AUTH %q: %s", shorten(e.Auth), rule)
		}
	}
	return nil
}

// Check returns an error unless the recipient can be sent to: its address and its parameters obey their grammar. The
// error names the value and the rule. [Envelope.Check] calls it for each recipient. Call it to find the one that is at
// fault, and to send to the others.
func (r *Recipient) Check() error {
	if r == nil {
		return errors.New("smtp: the recipient is nil: set its Address")
	}
	if err := CheckAddress(r.Address); err != nil {
		return err
	}
	if rule := checkNotify(r.Notify); rule != "" {
		return fmt.Errorf("smtp: NOTIFY %d: %s", r.Notify, rule)
	}
	if r.ORCPT == "" {
		return nil
	}
	rule := checkORCPT(r.ORCPT)
	if len(r.ORCPT) > maxORCPT || len(EncodeORCPT(r.ORCPT, true)) > maxORCPT {
		rule = "over 500 octets as xtext (RFC 3461 section 4.2)"
	}
	if rule != "" {
		return fmt.Errorf("smtp: ORCPT %q: %s", shorten(r.ORCPT), rule)
	}
	return nil
}

// The functions below return the rule that a decoded value breaks, or "".

func checkEnvID(s string) string {
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' {
			return "not printable ASCII (RFC 3461 section 4.4)"
		}
	}
	return ""
}

func checkAuth(s string) string {
	if s == "<>" {
		return ""
	}
	if NeedsUTF8(s) {
		return "not ASCII (RFC 4954 section 5)"
	}
	return checkMailbox(s)
}

func checkNotify(n Notify) string {
	if n >= NotifyDelay<<1 {
		return "no such flag"
	}
	if n&NotifyNever != 0 && n != NotifyNever {
		return "NEVER must be alone (RFC 3461 section 4.1)"
	}
	return ""
}

func checkORCPT(s string) string {
	kind, address, ok := strings.Cut(s, ";")
	// "=" is allowed in an atom, and not in the value of a parameter (RFC 5321 §4.1.2).
	if !ok || !isAtom(kind) || strings.Contains(kind, "=") || address == "" {
		return `not "type;address" (RFC 3461 section 4.2)`
	}
	ascii := !equalFold(kind, "utf-8")
	if !utf8.ValidString(address) {
		return "not UTF-8 (RFC 6533 section 3)"
	}
	for _, c := range address {
		if unicode.IsControl(c) {
			return fmt.Sprintf("control character %U (RFC 3461 section 4.2)", c)
		}
		if ascii && c >= utf8.RuneSelf {
			return `not ASCII, and the type isn't "utf-8" (RFC 6533 section 3)`
		}
	}
	return ""
}
