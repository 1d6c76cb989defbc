package smtp

import "golang.org/x/net/idna"

// toASCII maps a domain by UTS 46 non-transitional and gives its A-labels. What of ASCII may stand in
// them is left to the caller: the rule of the profile would refuse underscores.
func toASCII(domain string) (string, error) {
	return idna.New(
		idna.MapForLookup(),
		idna.Transitional(false),
		idna.BidiRule(),
		idna.StrictDomainName(false),
		idna.CheckHyphens(false),
	).ToASCII(domain)
}

// hasULabels reports whether nothing in a domain needs mapping to be U-labels, or labels in ASCII.
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
