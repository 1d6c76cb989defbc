package replies

// Provider returns the company that runs a host, by the host's name: what [Meaning].Provider has. If it isn't known,
// Provider returns "".
func Provider(host string) string { return defaults().provider(host) }

// Providers returns the names that [Provider] can return, in alphabetical order:
//
//	amazon, apple, att, barracuda, broadcom, charter, cisco, comcast, cox, fastmail, free, gmx, godaddy, google,
//	hornet, improvmx, infomaniak, ionos, laposte, mailcom, mailru, microsoft, mimecast, mxroute, naver, netease,
//	orange, ovh, proofpoint, proton, qq, rackspace, rambler, sfr, titan, tonline, trellix, trendmicro, verizon,
//	webde, yahoo, yandex, zerospam, zoho
func Providers() []string { return defaults().providerNames() }
