// Package kumo reads the shaping files of KumoMTA (shaping.toml), those that KumoMTA publishes and one's own, and turns
// them into limits and rules for a Relay:
//
//	shaping, err := kumo.Load(ctx, net.DefaultResolver, "shaping.toml", "community.toml")
//	if err != nil {
//		return err
//	}
//	for _, p := range slices.Concat(shaping.Problems, shaping.Ignored) {
//		log.Print(p)
//	}
//	relay.Receivers = append(shaping.Receivers, receivers.Default()...)
//	relay.Runner = &delivery.Runner{Site: shaping.Default.Limits()}
//	relay.Transport = &client.Transport{Replies: &replies.Classifier{Rules: shaping.Replies}}
//
// # Settings
//
// A provider becomes a Profile, by the ends of the names of its MX hosts. So does a section for a domain, by the MX
// hosts that the domain has at the time of Load. Files are composed in their order, as in KumoMTA: later settings
// replace earlier ones, rules are added, and replace_base begins a section anew.
//
//	connection_limit, provider_connection_limit    Profile.Connections, the smaller one
//	max_message_rate, provider_max_message_rate    Profile.Rate, the slower one
//	max_deliveries_per_connection                  Profile.Messages
//
// [Shaping].Ignored lists the other settings, misspelt ones too. Some have fields in a Transport: Timeouts, and
// Policies for TLS.
//
// # Automation
//
// An automation rule becomes a rule of package replies with the same regular expressions. If the words in them have a
// cause by the default rules, a blocklist for example, that is its Reason. Otherwise the Reason is smtp.RateLimited,
// and a Runner slows down by itself. So a Runner doesn't use triggers, durations and the values of SetConfig: they are
// in [Shaping].Automation. The shortest suspension for a rate becomes the Recovery.Pause of the Profile.
//
// # Problems
//
// A rule that can't work is in [Shaping].Problems and nowhere else: its expression isn't valid or matches no reply, or
// its provider has no hosts. So is a domain whose hosts can't be looked up. KumoMTA's expressions may have lookaround
// and backreferences, which package regexp doesn't have. A mistake with one possible remedy is corrected: then
// Problem.Corrected is true.
package kumo
