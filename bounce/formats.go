package bounce

// format is a way in which hosts write bounces for a person. The letters of all formats are read alike: a line names a
// recipient, and lines about it follow. A format only says that a mail is a bounce, and gives it a name.
type format struct {
	name  string
	learn string   // what the format was learnt from
	says  []string // words in the text or in the Subject, in lower case
}

// formats are tried in this order. Each of says must stand in no mail of a person, unless he quotes a bounce.
var formats = []format{
	{"qmail", "QSBMF, cr.yp.to/proto/qsbmf.txt, and bounces of qmail-send", []string{
		"this is the qmail-send program", "i wasn't able to deliver your message to the following addresses",
		"i'm afraid i wasn't able to deliver"}},
	{"exim", "Exim's specification, chapter on customizing bounce and warning messages", []string{
		"this message was created automatically by mail delivery software",
		"a message that you sent could not be delivered to", "a message that you sent has not yet been delivered",
		"this message was created automatically by the smtp relay", "created automatically by mail delivery system"}},
	{"postfix", "Postfix's bounce(5), templates", []string{
		"i'm sorry to have to inform you that your message could not", "this is the postfix program at host",
		"this is the mail system at host", "your message could not be delivered for more than",
		"could not be delivered to one or more destinations"}},
	{"sendmail", "sendmail 5 and 8, transcripts", []string{
		"transcript of session follows", "the following addresses had permanent fatal errors",
		"the following addresses had transient non-fatal errors", "the following addresses had delivery problems",
		"the following addresses had delivery errors", "the following addresses had fatal errors",
		"the following addresses have delivery notifications"}},
	{"exchange", "Exchange 5.5 to 2007, reports to a person", []string{
		"did not reach the following recipient", "did not reach some or all of the intended recipients",
		"the following recipient(s) could not be reached", "delivery has failed to these recipients",
		"could not be delivered to these recipients", "msexch:", "generating server:"}},
	{"domino", "Domino's failure reports", []string{
		"failure reasons", "not listed in public name & address book", "not listed in domino directory",
		"your document:"}},
	{"courier", "courier-mta's reports", []string{
		"this is a delivery status notification from", "the original message was received on"}},
	{"opensmtpd", "OpenSMTPD, smtpd's bounces", []string{
		"an error has occurred while attempting to deliver a message", "a message is delayed for more than"}},
	{"dma", "DragonFly Mail Agent", []string{"there was an error delivering your mail to"}},
	{"gmail", "Gmail and Google Groups, prose", []string{
		"delivery to the following recipient failed permanently",
		"delivery to the following recipient has been delayed",
		"technical details of permanent failure", "your message wasn't delivered to", "address not found"}},
	{"yahoo", "Yahoo's failure notices", []string{
		"we were unable to deliver your message to the following address"}},
	{"mailenable", "MailEnable's reports", []string{
		"the following recipient(s) could not be delivered to", "mailenable: message could not be delivered"}},
	{"mdaemon", "MDaemon's warnings", []string{
		"the attached message had permanent fatal delivery errors", "failed addresses follow"}},
	{"imail", "IMail's short letters", []string{
		"user mailbox exceeds allowed size", "invalid final delivery userid", "delivery failed 20 attempts"}},
	{"zmailer", "ZMailer's reports", []string{"collection of reports about email delivery"}},
	{"other", "letters of small hosts and gateways, of one sentence", []string{
		"unable to deliver message to", "unable to deliver mail", "could not be delivered to",
		"cannot be delivered to", "was not delivered to", "could not be delivered because",
		"your message could not be delivered", "your mail message to the following",
		"we had trouble delivering your message", "error delivering your m", "following recipients were affected",
		"rejected by a remote mail server", "message could not be delivered", "the user(s) account is",
		"error: invalid user address", "delivery of your message", "delivery failed", "delivery failure",
		"delivery has been failed", "undeliverable", "undelivered mail", "could not be delivered", "aborted after",
		"an error occurred while trying to deliver", "will be returned to you", "delivery attempts",
		"recipient address rejected", "was rejected by", "mail delivery failed", "returned mail", "unable to deliver",
		"has not been delivered", "failed to deliver", "couldn't be delivered", "can't be delivered",
		"wasn't able to deliver", "not able to deliver", "error sending your mail", "non-delivered", "failure notice",
		"delivery status notification", "mail system error", "did not receive this message", "were undeliverable",
		"this report relates to a message you sent"}},
	{"languages", "bounces of hosts in Germany, France, Italy, Spain, Portugal, the Netherlands, Poland, Russia, " +
		"Japan, China, Korea", []string{
		"nicht zugestellt", "unzustellbar", "nicht ausgeliefert", "zustellfehler", "zustellung fehlgeschlagen",
		"fehler bei der nachrichtenzustellung",
		"n'a pas pu être", "n'a pu être", "non distribu", "échec de la remise", "echec de la remise", "non remis",
		"non è stato possibile", "impossibile recapitare", "mancato recapito", "non recapita", "no se pudo entregar",
		"no se ha podido entregar", "no ha podido ser entregado", "no entregado", "não pôde ser entregue",
		"não foi possível entregar", "não foi entregue", "não entregue", "kan niet worden afgeleverd",
		"kon niet worden bezorgd", "onbestelbaar", "nie może zostać dostarczon", "niedostarczon",
		"не может быть доставлено", "не доставлено", "не может быть отправлено", "недоставленное",
		"не удалось доставить", "невозможно доставить", "не была доставлена",
		"送信できませんでした", "配信できませんでした", "配信に失敗", "送信に失敗",
		"配送できません", "エラーのため", "届けることができません",
		"宛先不明", "无法投递", "退信", "投递失败", "無法傳遞", "배달되지"}},
}

// undelivered are words of bounces of hosts in Turkey, Sweden, Denmark, Norway, Finland, Czechia, Hungary and Greece,
// in lower case. They are said of a parcel, too: one of messageWords has to stand in the text or in the Subject.
var (
	undelivered = []string{
		"teslim edilemedi", "kunde inte levereras", "kunne ikke leveres", "ei voitu toimittaa", "nelze doručit",
		"nebylo možné doručit", "nem kézbesíthető", "nem sikerült kézbesíteni", "δεν ήταν δυνατή η παράδοση",
	}
	messageWords = []string{
		"ileti", "mesaj", "e-posta", "meddeland", "melding", "meddelelse", "besked", "viesti", "zpráv", "üzenet",
		"μήνυμα", "μηνύματος", "e-mail", "epost", "e-post", "sähköposti",
	}
)

// originalMarks are in the line above the message that is returned, in lower case.
var originalMarks = []string{
	"original message", "copy of the message", "copy of your message", "message headers follow", "returned message",
	"unsent message", "original mail", "message text follows", "headers of the original", "header of the original",
	"enclosed is a copy", "below this line is", "message header", "message follows", "returned text",
	"undelivered message", "the following is a copy of", "original headers", "mail header", "header follows",
	"text of message", "message body", "begin original", "returned mail follows", "original-nachricht",
	"message d'origine", "mensaje original", "mensagem original", "messaggio originale", "元のメール",
	"original email",
}

// delayWords are in the Subject or the text of a mail about a message that will be tried again, in lower case.
var delayWords = []string{
	"(delay)", "warning:", "warning message only", "has been delayed", "is delayed", "delayed mail",
	"not yet been delivered", "will be retried", "still being retried", "temporary failure report",
	"notification: warning", "delivery attempts will continue", "could not send mail for past",
	"do not need to resend", "transient non-fatal", "will continue to", "still trying", "keep trying",
	"message delayed", "verzögert", "retardé", "retrasado", "atrasad", "遅延", "warning--",
}

// permanentWords are in the text of a mail about a message that failed, whatever its Subject warns of, in lower case.
var permanentWords = []string{
	"permanent fatal", "permanent error", "failed permanently", "permanently failed", "permanent failure",
}

// openWords stand before words of permanentWords that are no fact, in lower case.
var openWords = []string{
	" not ", "n't ", " no ", " until ", " unless ", " if ", " before ", " without ", " may ", " when ",
}

// introducingEnds are the ends of a text that an address of a recipient follows, in lower case.
var introducingEnds = []string{
	"delivered to", "deliver to", "message to", "mail to", "email to", "e-mail to", "sent to", "send to",
	"delivery to", "addressed to", "recipient", "recipients", "recipient(s)", "recipient address", "final recipient",
	"failed recipient", "to address", "email address", "address", "user", "mailbox", "account", "userid",
	"rejected recipient", "unknown user", "user unknown", "gateway for", "permanent errors", "relay to", "bounced",
	"reach", "zustellung an", "empfänger", "destinataire", "destinatario", "destinatário", "宛先",
}

// introducingLabels are the names of fields that have a recipient, in lower case.
var introducingLabels = map[string]bool{
	"recipient": true, "recipients": true, "recipient(s)": true, "address": true, "final-recipient": true,
	"original-recipient": true, "failed-recipient": true, "failed recipient": true, "failed": true,
	"user": true, "mailbox": true, "account": true, "rcpt": true, "email": true,
	"destinataire": true, "destinatario": true, "empfänger": true, "宛先": true, "受信者": true,
}

// listWords are in a line that ends in ":" and has a list of recipients below it, in lower case. toLabels begin a line
// that describes the message.
var (
	listWords = []string{
		"recipient", "following address", "could not be reached", "could not be delivered", "was not delivered",
		"empfänger", "destinataire", "destinatari", "destinatári", "ontvanger", "收件人", "宛先",
	}
	toLabels = []string{"to:", "an:", "à :", "a:", "para:", "aan:", "do:", "кому:", "收件人", "宛先"}
)

// senderWords are in a text before an address that is no recipient, in lower case.
var senderWords = []string{
	"from", "sender", "reply", "contact", "message-id", "subject", "return-path", "cc", "mail id", "envelope",
}

// senderLabels stand before the name and the address of a sender, in lower case.
var senderLabels = []string{"from", "sender", "envelope", "reply-to", "return-path", "cc"}

// helpWords are in lines with an address for help, in lower case.
var helpWords = []string{
	"contact", "assistance", "support", "help", "questions", "administrator", "complain", "write to", "e-mail us",
	"abuse@", "report this",
}
