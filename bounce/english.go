package bounce

import "github.com/postrider/postrider/smtp"

// English returns the texts of a report in English.
func English() *Texts {
	return &Texts{
		Language: "en",
		From:     "Mail Delivery System",
		Date:     "2 January 2006, 15:04 (UTC -0700)",
		Subject: map[Action]string{
			Failed:    "Your message could not be delivered",
			Delayed:   "Your message is delayed",
			Relayed:   "Your message was passed on",
			Expanded:  "Your message was sent on to a group of addresses",
			Delivered: "Your message was delivered",
		},
		Intro: "This is an automatic report from the mail system at {host} about a message that was sent from " +
			"your address.",
		About:    "Subject: {subject}",
		Accepted: "Accepted: {date}",
		List: map[Action]string{
			Failed:  "The message could not be delivered to:",
			Delayed: "The message is delayed. It has not been delivered yet to:",
			Relayed: "The message was passed on to a mail system that does not report deliveries. " +
				"It is on its way to:",
			Expanded:  "The message arrived, and is being sent on to all members of:",
			Delivered: "The message was delivered to:",
		},
		SentTo:  "(you sent it to {address})",
		Reasons: englishReasons(),
		RequireTLS: ReasonTexts{
			"The message demands verified TLS at each host on its way (REQUIRETLS). " +
				"The recipient's mail system does not offer that.",
			"Send the message without this demand, or reach the recipient in another way.",
		},
		Tried:      "All attempts to deliver it failed. There will be no more attempts.",
		TriedUntil: "All attempts to deliver it failed, the last one on {date}. There will be no more attempts.",
		Untried:    "It could not be sent in time. There will be no more attempts.",
		Unknown:    "It may have arrived nevertheless. Ask the recipient before you send it again.",
		Retry:      "You do not need to do anything: the message will be tried again.",
		RetryUntil: "You do not need to do anything: the message will be tried again until {date}.",
		Told:       "If it cannot be delivered in the end, you will be told.",

		Answered:     "The server {host} answered:",
		AnsweredHere: "The next mail system answered:",
		FailedAt:     "The last attempt failed at {host}:",
		Details:      "Details:",
		TakenBy:      "The server {host} accepted it.",

		Members:     "There will be no report on deliveries to the members.",
		MembersTold: "If it cannot be delivered to one of them, you will be told.",

		Others:          "Recipients that are not listed here: {n}.",
		HeaderAttached:  "The header of your message is attached.",
		MessageAttached: "Your message is attached.",
		Help:            "If you need help, reply to this mail: the postmaster of {host} will read it.",
	}
}

func englishReasons() map[smtp.Reason]ReasonTexts {
	return map[smtp.Reason]ReasonTexts{
		smtp.Other: {
			"The message was not accepted.",
			"Try to reach the recipient in another way, or show this report to your administrator.",
		},
		smtp.Network: {
			"The recipient's mail system could not be reached, or the connection broke.",
			"This may be over by now: you can send the message again.",
		},
		smtp.RateLimited: {
			"The recipient's mail system does not take so many messages at a time.",
			"Send the message again in some hours.",
		},
		smtp.Greylisted: {
			"The recipient's mail system asked to come again later, as it does when it does not know a sender yet.",
			"Send the message again.",
		},
		smtp.Blocklisted: {
			"The recipient's mail system takes no mail from here, because of a blocklist or a bad reputation.",
			"Show this report to your administrator, who can ask to be removed from the list. " +
				"Until then, reach the recipient in another way.",
		},
		smtp.UserUnknown: {
			"This address does not exist.",
			"Check it for a mistake, and send the message again to the right one.",
		},
		smtp.MailboxFull: {
			"The mailbox is full.",
			"Tell the recipient in another way, and send the message again when there is room.",
		},
		smtp.MailboxDisabled: {
			"The mailbox takes no mail: it may be closed, suspended or no longer in use.",
			"Ask the recipient for another address.",
		},
		smtp.HostUnknown: {
			"The part of the address after the \"@\" does not exist, or takes no mail.",
			"Check the address for a mistake, and send the message again to the right one.",
		},
		smtp.SpamContent: {
			"The recipient's mail system takes the message for spam, or does not want something in it.",
			"The same message will be refused again. Change it, its links and attachments above all, " +
				"or reach the recipient in another way.",
		},
		smtp.PolicyAuth: {
			"The recipient's mail system could not make sure that the message comes from your domain.",
			"Show this report to your administrator: a setting of your domain or of your mail system has to be mended.",
		},
		smtp.TooBig: {
			"The message is too big.",
			"Send a smaller one, or a link in place of an attachment.",
		},
		smtp.TLS: {
			"There was no secure connection to the recipient's mail system.",
			"Show this report to your administrator, or reach the recipient in another way.",
		},
		smtp.Virus: {
			"The message holds a virus, or an attachment of a kind that the recipient's mail system does not take.",
			"Check your computer for viruses, and do not send the attachment again.",
		},
		smtp.RelayDenied: {
			"A mail system on the way does not take messages for this address from here.",
			"Check the address for a mistake. If it is right, show this report to your administrator.",
		},
		smtp.Syntax: {
			"The message, or the address of its sender, is not in the form that the recipient's mail system wants.",
			"Send it with another program, or show this report to your administrator.",
		},
		smtp.Expired: {
			"The time for its delivery ended.",
			"You can send the message again.",
		},
		smtp.Temporary: {
			"The recipient's mail system has a problem of its own.",
			"This may be over by now: you can send the message again.",
		},
		smtp.NoSource: {
			"This mail system could not send to other mail systems for some time.",
			"This may be over by now: you can send the message again.",
		},
	}
}
