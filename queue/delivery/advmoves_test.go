package delivery

import (
	"fmt"
	"net/netip"
	"time"

	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/smtp"
)

// advAlways is what hosts do at every attempt.
func advAlways(hosts ...advHost) func(int64, int) advTalk {
	t := advSend(hosts...)
	return func(int64, int) advTalk { return t }
}

// advSome is n hosts that do the same.
func advSome(n int, h advHost) []advHost {
	hosts := make([]advHost, n)
	for i := range hosts {
		hosts[i] = h
	}
	return hosts
}

var (
	// A host that answers at once.
	advFast = advHost{takes: advSteps(15*time.Millisecond, smtp.StageConnect, smtp.StageFinal)}

	// The address of a machine that is off.
	advDead = advHost{takes: advSteps(time.Hour, smtp.StageConnect, smtp.StageConnect)}

	// A host that answers each command just in time. It offers no STARTTLS.
	advSlow = func() advHost {
		h := advHost{takes: advSteps(290*time.Second, smtp.StageGreeting, smtp.StageRcpt)}
		h.takes[smtp.StageTLS], h.takes[smtp.StageAuth] = 0, 0
		h.takes[smtp.StageData], h.takes[smtp.StageFinal] = 115*time.Second, 590*time.Second
		return h
	}()

	// The same, with STARTTLS, and 100 recipients.
	advSlowest = func() advHost {
		h := advSlow
		h.takes[smtp.StageTLS], h.rcpts = 580*time.Second, 100
		return h
	}()

	// A host that answers at once up to MAIL, and then just in time.
	advStalls = func() advHost {
		h := advSlow
		h.rcpts = 100
		for stage := smtp.StageConnect; stage < smtp.StageMail; stage++ {
			h.takes[stage] = 15 * time.Millisecond
		}
		return h
	}()

	// A healthy host that is at the content of a message for longer than its sender waits.
	advScans = func() advHost {
		h := advFast
		h.takes[smtp.StageFinal] = time.Hour
		return h
	}()

	// A host that takes its time with each message, and takes it.
	advLazy = func() advHost {
		h := advFast
		h.takes[smtp.StageFinal] = 25 * time.Second
		return h
	}()

	advBusy = func() advHost {
		h := advFast
		h.takes[smtp.StageFinal] = 6 * time.Second
		return h
	}()

	// A message of 20 MB to a host that takes it at 80 kB/s.
	advBig = func() advHost {
		h := advFast
		h.size = 20 << 20
		h.takes[smtp.StageBody] = 250 * time.Second
		return h
	}()
)

var (
	talkDead    = advAlways(advDead)
	talkDeadAll = advAlways(advSome(25, advDead)...)
	talkSlow    = advAlways(advSlow)
	talkSlowest = advAlways(advSlowest)
	talkStalls  = advAlways(advStalls)
	talkFast    = advAlways(advFast)
	talkLazy    = advAlways(advLazy)
	talkBusy    = advAlways(advBusy)
	talkBig     = advAlways(advBig)
	talkScans   = advAlways(advScans)
	talkFull    = advAlways(advRefusal(smtp.StageRcpt, 452, "4.2.2", "mailbox full"))
	talkReject  = advAlways(advRefusal(smtp.StageRcpt, 550, "5.7.1", "go away"))
	talkRcpt    = advAlways(advRefusal(smtp.StageRcpt, 451, "4.7.1", "try again later"))
	talkMail    = advAlways(advRefusal(smtp.StageMail, 450, "4.7.1", "your domain has a bad name"))
	talk421     = advAlways(advRefusal(smtp.StageMail, 421, "4.7.26", "not authenticated"))
	talkRate    = advAlways(advRefusal(smtp.StageMail, 450, "4.7.1", "rate limit exceeded"))
	talkRateIP  = advAlways(advRefusal(smtp.StageFinal, 421, "4.7.28", "too much mail from your IP address, slow down"))
	talkEcho    = advAlways(advRefusal(smtp.StageRcpt, 450, "4.1.1",
		`<"too much mail from your IP address, slow down"@p.test>: Recipient address rejected: unverified`))
	talkPanic  = func(int64, int) advTalk { return advTalk{takes: 10 * time.Millisecond, results: advPanicked} }
	talkPanic2 = func(int64, int) advTalk { return advTalk{takes: 10 * time.Millisecond, results: advPanicked2} }
	talkAside  = advAlways(advDead, advRefusal(smtp.StageRcpt, 450, "4.7.1", "not here"))
)

// advMoves are all moves. The first ones are the rows of the table that the admission was made for.
var advMoves = []*advMove{
	{
		name: "policy-rcpt", about: "451 4.7.1 at RCPT for domains that name a provider's MX", rate: 1,
		act: func(p *advPlay) int { return advBurst(p, p.named, advOwners[1], talkRcpt) },
	},
	{
		name: "policy-mail", about: "450 4.7.1 at MAIL for a sender of bad reputation", rate: 1,
		act: func(p *advPlay) int { return advBurst(p, p.victimDomain, advOwners[2], talkMail) },
	},
	{
		name: "policy-421", about: "421 4.7.26 at MAIL for senders of bad reputation", rate: 1,
		act: func(p *advPlay) int { return advBurst(p, p.victimDomain, p.owner(), talk421) },
	},
	{
		name: "rate", about: "a rate limit that names nothing, at MAIL, for four senders in turns at each provider", rate: 1,
		act: func(p *advPlay) int {
			owner := advOwners[p.turn/len(advVictims)%len(advOwners)]
			return advBurst(p, p.victimDomain, owner, talkRate)
		},
	},
	{
		name: "rate-address", about: "hosts after those of a provider, that complain of our address", rate: 1,
		act: func(p *advPlay) int { return advBurst(p, p.named, p.owner(), talkRateIP) },
	},
	{
		name: "echo", about: "recipients at providers whose names, in the provider's reply, complain of our address", rate: 1,
		act: func(p *advPlay) int { return advBurst(p, p.victimDomain, p.owner(), talkEcho) },
	},
	{
		name: "rate-names", about: "hosts after those of a provider, that refuse each message of another domain", rate: 1,
		act: func(p *advPlay) int {
			p.turn++
			m := p.mail(p.named(p.turn), p.owner(), talkRate)
			m.envelope = smtp.NewEnvelope(fmt.Sprintf("from@d%d.test", p.turn), "to@recipient.test")
			p.send(m)
			return 1
		},
	},
	{
		name: "greylist", about: "a greylister that says 4.7.1", rate: 1,
		act: func(p *advPlay) int {
			return advBurst(p, p.victimDomain, p.owner(), func(now int64, attempt int) advTalk {
				if attempt == 1 {
					return talkRcpt(now, attempt)
				}
				return talkFast(now, attempt)
			})
		},
	},
	{
		name: "slow-commands", about: "forged senders whose hosts answer each command after 290 s", rate: 0.3,
		act: func(p *advPlay) int { p.post(p.domain(advQuick, advSite{}), 0, talkSlow); return 1 },
	},
	{
		name: "slow-starttls", about: "the same, with STARTTLS and 100 recipients, by all owners", rate: 0.3,
		act: func(p *advPlay) int { p.post(p.domain(advQuick, advSite{}), p.owner(), talkSlowest); return 1 },
	},
	{
		name: "dead", about: "domains of one mail each whose host times out", rate: 1,
		act: func(p *advPlay) int { p.post(p.domain(advQuick, advSite{}), p.owner(), talkDead); return 1 },
	},
	{
		name: "dead-addrs", about: "domains of one mail each with 25 addresses that time out", rate: 1,
		act: func(p *advPlay) int { p.post(p.domain(advQuick, advSite{}), p.owner(), talkDeadAll); return 1 },
	},
	{
		name: "start-dead", about: "a start with 3,000 dead domains, and full mailboxes at providers", rate: 0.1,
		begin: func(p *advPlay) {
			for range 3000 {
				p.had(p.domain(advQuick, advSite{}), p.owner(), talkDead)
			}
			for i := range 200 {
				p.had(p.a.s.honest.dests[i][0], p.owner(), talkFull)
			}
		},
	},
	{
		name: "busy", about: "300 busy destinations, whose hosts take 6 s for each message", rate: 1,
		act: func(p *advPlay) int { p.post(p.domains(300), p.owner(), talkBusy); return 1 },
	},
	{
		name: "dns-hangs", about: "domains whose DNS hangs for 20 s", rate: 1,
		act: func(p *advPlay) int { p.post(p.domain(20*time.Second, advSite{}), p.owner(), talkDead); return 1 },
	},
	{
		name: "stall-from-mail", about: "hosts that stall from MAIL on", rate: 0.3,
		act: func(p *advPlay) int { p.post(p.domain(advQuick, advSite{}), p.owner(), talkStalls); return 1 },
	},
	{
		name: "panics", about: "a Sender that panics, at providers", rate: 1,
		act: func(p *advPlay) int {
			p.n++
			if p.n%2 == 0 {
				return advBurst(p, p.victimDomain, p.owner(), talkPanic)
			}
			return advBurst(p, p.victimDomain, p.owner(), talkPanic2)
		},
	},
	{
		name: "blocked", about: "thousands of destinations at one site that is down", rate: 1,
		begin: func(p *advPlay) {
			for range p.a.s.blocked {
				p.had(p.domain(advQuick, advSite{"mx.down.test", []netip.Addr{p.addr(0)}}), p.owner(), talkDead)
			}
		},
		act: func(p *advPlay) int {
			p.post(p.domain(advQuick, advSite{"mx.down.test", []netip.Addr{p.addr(0)}}), p.owner(), talkDead)
			return 1
		},
	},
	{
		name: "many-names", about: "many MX names on one address, which stalls from MAIL on", rate: 1,
		act: func(p *advPlay) int {
			site := advSite{fmt.Sprintf("mx%d.evil.test", p.n), []netip.Addr{p.addr(0)}}
			p.post(p.domain(advQuick, site), p.owner(), talkStalls)
			return 1
		},
	},
	{
		name: "flood", about: "a flood of ordinary mail to one healthy site by one owner", rate: 1,
		act: func(p *advPlay) int { p.post(p.a.s.honest.dests[0][0], advOwners[1], nil); return 1 },
	},
	{
		name: "flood-small", about: "the same to a small one, by all owners and with a high priority", rate: 1,
		act: func(p *advPlay) int {
			m := p.mail(p.a.s.honest.dests[100][0], p.owner(), nil)
			m.prio = 1
			p.send(m)
			return 1
		},
	},
	{
		name: "ring", about: "thousands of domains that name providers' MX, with mail that is taken", rate: 1,
		act: func(p *advPlay) int { return advBurst(p, p.named, p.owner(), nil) },
	},
	{
		name: "farm-stall", about: "300 hosts that are fast, then stall from MAIL on, with mail stored up", rate: 1,
		act: func(p *advPlay) int { return advFarm(p, talkStalls) },
	},
	{
		name: "farm-dead", about: "300 hosts that are fast, then time out, with mail stored up", rate: 1,
		act: func(p *advPlay) int { return advFarm(p, talkDeadAll) },
	},
	{
		name: "together-dead", about: "mail to dead domains stored up to come due together", rate: 1,
		act: func(p *advPlay) int {
			p.store(p.domain(advQuick, advSite{}), p.owner(), p.stored(), talkDead)
			return 1
		},
	},
	{
		name: "together-taken", about: "mail to providers stored up to come due together", rate: 1,
		act: func(p *advPlay) int {
			p.turn++
			p.store(p.victimDomain(p.turn), p.owner(), p.stored(), nil)
			return 1
		},
	},
	{
		name: "big", about: "messages of 20 MB that take minutes, at hosts of its own and at providers", rate: 0.5,
		act: func(p *advPlay) int {
			p.turn++
			d := p.victimDomain(p.turn)
			if p.turn%2 == 0 {
				d = p.domains(100)
			}
			m := p.mail(d, p.owner(), talkBig)
			m.size = advBig.size
			p.send(m)
			return 1
		},
	},
	{
		name: "scans", about: "messages that a provider is at until they time out at the final dot", rate: 1,
		act: func(p *advPlay) int { return advBurst(p, p.victimDomain, advOwners[1], talkScans) },
	},
	{
		name: "aside", about: "domains that list a dead address before those of a provider", rate: 1,
		act: func(p *advPlay) int {
			p.turn++
			victim := advHealthySite(p.victim(p.turn))
			site := advSite{name: fmt.Sprintf("dead%d.evil.test,%s", p.n, victim.name)}
			site.addrs = append([]netip.Addr{p.addr(p.n)}, victim.addrs...)
			p.post(p.domain(advQuick, site), p.owner(), talkAside)
			return 1
		},
	},
	{
		name: "lazy", about: "300 hosts that take each message after 25 s", rate: 1,
		act: func(p *advPlay) int { p.post(p.domains(300), p.owner(), talkLazy); return 1 },
	},
	{
		name: "rejects", about: "domains whose hosts reject all at once", rate: 1,
		act: func(p *advPlay) int { p.post(p.domain(advQuick, advSite{}), p.owner(), talkReject); return 1 },
	},
}

// advBeyond are moves by more owners than the promise is about.
var advBeyond = []*advMove{
	{
		name: "owners-20", about: "domains whose host times out, with mail of 20 owners", rate: 1,
		act: func(p *advPlay) int { return advCrowd(p, 20) },
	},
	{
		name: "owners-12000", about: "the same, with mail of an owner each", rate: 1,
		act: func(p *advPlay) int { return advCrowd(p, 12000) },
	},
}

// advCrowd has mail for a dead domain, by one of so many owners in turns.
func advCrowd(p *advPlay, owners int) int {
	p.turn++
	p.post(p.domain(advQuick, advSite{}), queue.Owner(70000+p.turn%owners), talkDead)
	return 1
}

// advFarm has 300 hosts that are fast until a time, and talk otherwise from then on, when stored mail comes due as well.
func advFarm(p *advPlay, then func(now int64, attempt int) advTalk) int {
	at := p.stored()
	if p.n >= 300 && p.a.s.now <= at && p.turn%3 == 0 {
		p.store(p.domains(300), p.owner(), at, then)
		return 1
	}
	p.post(p.domains(300), p.owner(), func(now int64, attempt int) advTalk {
		if now < at {
			return talkFast(now, attempt)
		}
		return then(now, attempt)
	})
	return 1
}
