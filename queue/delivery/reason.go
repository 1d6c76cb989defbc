package delivery

import (
	"cmp"
	"slices"

	"github.com/postrider/postrider/smtp"
)

// reasons are in the order of their weight: of several in one task, the last of these chooses the schedule. A Reason
// that isn't here has the weight of smtp.Other.
var reasons = [...]smtp.Reason{
	smtp.UserUnknown, smtp.Other, smtp.Network, smtp.RateLimited, smtp.Greylisted, smtp.Blocklisted,
}

func weight(r smtp.Reason) int {
	if i := slices.Index(reasons[:], r); i >= 0 {
		return i
	}
	return weight(smtp.Other)
}

// isAgainstSite reports whether a Result that is open for that reason counts against the site.
func isAgainstSite(r smtp.Reason) bool {
	return r == smtp.Network || r == smtp.RateLimited || r == smtp.Blocklisted
}

// judge says what results teach about a site, and why they are open: the heaviest of their reasons, smtp.NoReason if
// none is.
func judge(results []smtp.Result) (v verdict, why smtp.Reason) {
	for _, res := range results {
		reason := smtp.NoReason
		if isOpen(res) {
			reason = cmp.Or(res.Reason, smtp.Other)
			if why == smtp.NoReason || weight(reason) > weight(why) {
				why = reason
			}
		}
		switch {
		case isAgainstSite(reason):
			if v.sign == 0 {
				v.sign, v.result = -1, res
			}
		case !res.Local: // a host has spoken
			v.sign = 1
		}
	}
	return v, why
}
