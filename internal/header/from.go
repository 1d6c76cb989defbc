package header

import (
	"io"
	"mime"
	"net/mail"
	"slices"
	"strings"

	"github.com/postrider/postrider/smtp"
)

// FromDomains returns the domains of the addresses in all From fields, in lower case. A field that can't be parsed has
// all the domains that a program which shows it might take: whatever stands after an "@". There are at most MaxDomains.
func FromDomains(fields []string) []string {
	var domains []string
	for _, field := range fields {
		name, value, _ := strings.Cut(field, ":")
		if !strings.EqualFold(strings.TrimRight(name, " \t\r\n"), "From") {
			continue
		}
		list, err := ParseAddresses(value)
		if err != nil {
			domains = addNew(domains, afterAt(value))
			continue
		}
		for _, address := range list {
			_, domain := smtp.SplitAddress(address.Address)
			domains = addNew(domains, []string{domain})
		}
	}
	return domains
}

// MaxDomains bounds the domains of FromDomains. DMARC evaluates fewer.
const MaxDomains = 10

// addNew adds domains that aren't in the list yet, up to MaxDomains.
func addNew(list, domains []string) []string {
	for _, domain := range domains {
		domain = strings.ToLower(domain)
		if len(list) < MaxDomains && !slices.Contains(list, domain) {
			list = append(list, domain)
		}
	}
	return list
}

// ParseAddresses returns the addresses of a From field, with or without their display names, which may be in any
// charset. The quotes of a local part are left out.
func ParseAddresses(value string) ([]*mail.Address, error) {
	if address, ok := plainAddress(value); ok {
		return []*mail.Address{{Address: address}}, nil
	}
	return addressParser.ParseList(value)
}

// plainAddress returns the address of a field that has one, if all of it are words of letters and digits: the most
// common form, which addressParser takes ten times as long for.
func plainAddress(value string) (address string, ok bool) {
	address = strings.Trim(value, " ")
	if name, rest, found := strings.Cut(address, "<"); found {
		if address, ok = strings.CutSuffix(rest, ">"); !ok || strings.ContainsFunc(name, isSpecial) {
			return "", false
		}
	}
	local, domain, _ := strings.Cut(address, "@")
	for _, part := range [...]string{local, domain} {
		for word := range strings.SplitSeq(part, ".") {
			if word == "" || strings.Contains(word, " ") || strings.ContainsFunc(word, isSpecial) {
				return "", false
			}
		}
	}
	return address, true
}

// isSpecial reports whether c is neither a letter, a digit, a hyphen nor a space.
func isSpecial(c rune) bool {
	return (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '-' && c != ' '
}

// addressParser takes display names in any charset: they aren't looked at.
var addressParser = mail.AddressParser{WordDecoder: &mime.WordDecoder{
	CharsetReader: func(_ string, input io.Reader) (io.Reader, error) { return input, nil },
}}

// afterAt returns what may be a domain after each "@" of a field that isn't in a quoted string or a comment.
func afterAt(value string) (domains []string) {
	quoted, depth := false, 0
	for i := 0; i < len(value); i++ {
		switch c := value[i]; {
		case c == '\\':
			i++
		case c == '"' && depth == 0:
			quoted = !quoted
		case quoted:
		case c == '(':
			depth++
		case c == ')' && depth > 0:
			depth--
		case c == '@' && depth == 0:
			domain := value[i+1:]
			if end := strings.IndexAny(domain, " \t\r\n<>()[],;:\\\"@"); end >= 0 {
				domain = domain[:end]
			}
			if domain != "" {
				domains = append(domains, domain)
			}
		}
	}
	return domains
}
