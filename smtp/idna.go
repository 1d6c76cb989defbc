package smtp

import "golang.org/x/net/idna"

// toASCII maps a domain to A-labels (UTS 46, non-transitional). The caller checks the ASCII characters: the profile's
// rule would refuse underscores.
func toASCII(domain string) (string, error) {
	return idna.New(
		idna.MapForLookup(),
		idna.Transitional(false),
		idna.BidiRule(),
		idna.StrictDomainName(false),
		idna.CheckHyphens(false),
	).ToASCII(domain)
}

// hasULabels reports whether each label of a domain is a U-label or ASCII, without any mapping.
func hasULabels(domain string) bool {
	if !NeedsUTF8(domain) {
		return true
	}
	_, err := idna.New(
		idna.ValidateForRegistration(),
		idna.BidiRule(),
		idna.StrictDomainName(false),
		idna.CheckHyphens(false),
	).ToASCII(domain)
	return err == nil
}
