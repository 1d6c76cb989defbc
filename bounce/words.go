package bounce

import "github.com/postrider/postrider/smtp"

// mailerWords are the words by which mail systems state a cause in prose and in diagnostics of their own, in lower
// case. The replies of hosts are known to package replies. The first match counts.
var mailerWords = []struct {
	reason smtp.Reason
	words  []string
}{
	{smtp.Network, []string{
		"found, try again", "name server failure", "host name lookup failure", "name lookup failure, try",
		"temporary lookup failure", "dns lookup failure", "temporary dns",
	}},
	{smtp.SpamContent, []string{
		"spam firewall", "bulk email filter",
		"spam classification", "classified as spam", "considered spam", "looks like spam", "message is spam",
		"identified as spam", "spam detected", "spam message",
	}},
	{smtp.MailboxFull, []string{
		"mailbox full", "mailbox is full", "not enough disk space", "mailbox for user is full", "full mailbox",
		"over its quota", "mailbox quota", "quota is full", "storage limit", "over the quota", "over quota",
		"overquota", "quota exceeded", "exceeded quota", "mailfolder is full", "exceeds allowed size",
		"exceeded the local limit", "storage quota", "inbox is full", "disk quota", "quota has been exceeded",
		"insufficient disk space", "mailbox has exceeded", "out of storage", "mailbox size limit",
		"exceeded storage allocation", "exceed quota", "too much mail data", "boîte pleine", "postfach ist voll",
		"メールボックスの容量", "容量を超え", "buzón lleno", "caixa cheia", "casella piena", "邮箱已满", "郵箱已滿",
		"信箱已滿", "容量已满", "空间不足", "空間不足", "ящик переполнен", "превышена квота", "용량 초과",
		"posta kutusu dolu", "brevlådan är full", "postkassen er fuld", "postkasse er fuld", "postboksen er full",
		"postkasse er full", "postilaatikko on täynnä", "schránka je plná", "postafiók megtelt", "postaládája megtelt",
		"γραμματοκιβώτιο είναι γεμάτο", "postvak is vol", "postbus is vol", "postfach voll", "przepełniona",
	}},
	{smtp.MailboxDisabled, []string{
		"account is disabled", "is disabled", "is frozen", "account disabled", "account is locked",
		"account has been disabled", "account inactive", "inactive account", "mailbox disabled",
		"mailbox is disabled", "account suspended", "account is suspended", "user suspended", "has been suspended",
		"mailbox inactive", "disabled recipient", "no longer active", "mailbox is inactive", "account expired",
		"not accepting messages", "user is inactive", "account not active", "deactivated", "recipient suspend",
		"temporarily disabled", "user disabled", "account closed", "has been locked", "account not available",
		"not accepting mail", "user account is expired", "discontinued", "user is not active", "inactive user",
		"account is not active", "帐号被禁用", "账号被禁用", "邮箱已停用", "ящик заблокирован", "заблокирован",
		"hesap devre dışı", "kontot är inaktiverat", "kontoen er deaktiveret", "kontoen er deaktivert",
		"tili on poistettu käytöstä", "schránka je zablokována", "účet je zablokován", "a fiók letiltva",
		"ο λογαριασμός είναι απενεργοποιημένος", "account is uitgeschakeld", "postvak is uitgeschakeld",
	}},
	{smtp.Virus, []string{
		"virus", "malware", "infected", "trojan", "banned file", "executable attachment", "file extension",
	}},
	{smtp.TLS, []string{
		"starttls", "support tls", "tls required", "certificate", "tls handshake", "encryption required",
		"must issue a starttls",
	}},
	{smtp.TooBig, []string{
		"message size exceeds", "message too large", "message too big", "too big", "message is too large",
		"message is larger than", "size exceeded", "exceeds maximum size", "exceeds the maximum", "length exceeds",
		"message size", "size limit",
	}},
	{smtp.RelayDenied, []string{
		"relay denied", "relaying denied", "relay access denied", "not permitted to relay", "mail relay",
		"no relaying", "relaying is not allowed", "relay not permitted", "unable to relay", "relaying prohibited",
		"relaying mail",
	}},
	{smtp.PolicyAuth, []string{
		"dmarc", " spf", "dkim", "reverse dns", "ptr record", "unauthenticated", "rdns", "authentication checks",
		"sender policy framework", "unverifyable", "unverifiable", "name lookup failed", "mismatches client",
	}},
	{smtp.RateLimited, []string{
		"too many connections", "rate limit", "too many messages", "daily relay quota", "too many recipients",
		"throttl", "unusual rate", "message rate", "sending limit", "frequency limited", "sending quota",
	}},
	{smtp.Greylisted, []string{"greylist", "graylist"}},
	{smtp.UserUnknown, []string{
		"user unknown", "unknown user", "no such user", "no such recipient", "recipient not found",
		"name is not recognized", "unknown recipient", "not listed in public name", "not listed in domino",
		"no mailbox here", "invalid final delivery", "invalid user", "invalid recipient", "invalid address",
		"unknown or illegal alias", "mailbox not found", "mailbox does not exist", "user doesn't exist",
		"unknown local part", "does not exist on", "doesn't have a", "recipient unknown", "address unknown",
		"unknown address", "no such mailbox", "not our customer", "user not found", "user does not exist",
		"couldn't be found", "recipnotfound", "unroutable address", "unrouteable address", "account does not exist",
		"address does not exist", "address doesn't exist", "no such address", "email address is possibly incorrect",
		"address not found", "bad destination mailbox", "addressee unknown", "not a valid mailbox",
		"is not a known user", "user not known", "has no mailbox", "no mailbox by that name", "unknown mailbox",
		"メールアドレスが見つか", "宛先不明", "ディレクトリのリストに",
		"存在しません", "unbekannter empfänger", "empfänger unbekannt", "utilisateur inconnu",
		"usuario desconocido", "utente sconosciuto", "неизвестный пользователь", "адрес не существует",
		"ящик не существует", "пользователя не существует", "пользователь не найден", "адрес не найден",
		"нет такого пользователя", "nie ma takiego",
		"nicht im domino-verzeichnis", "adresse konnte nicht gefunden", "empfänger nicht gefunden",
		"用户不存在", "地址不存在", "邮箱不存在", "帐号不存在", "账号不存在", "无此用户", "查无此人", "사용자가 없", "존재하지 않는 사용자",
		"kullanıcı yok", "kullanıcı bulunamadı", "alıcı bulunamadı", "okänd mottagare", "okänd användare",
		"användaren finns inte", "mottagaren finns inte", "ukendt bruger", "ukendt modtager", "brugeren findes ikke",
		"modtageren findes ikke", "ukjent bruker", "ukjent mottaker", "brukeren finnes ikke", "mottakeren finnes ikke",
		"tuntematon vastaanottaja", "tuntematon käyttäjä", "käyttäjää ei löydy", "vastaanottajaa ei löydy",
		"uživatel neexistuje", "neznámý uživatel", "neznámý příjemce", "příjemce neexistuje",
		"ismeretlen felhasználó", "ismeretlen címzett", "címzett nem létezik", "nincs ilyen felhasználó",
		"άγνωστος χρήστης", "άγνωστος παραλήπτης", "χρήστης δεν υπάρχει", "παραλήπτης δεν βρέθηκε",
		"παραλήπτης δεν υπάρχει", "onbekende gebruiker", "onbekende ontvanger", "gebruiker bestaat niet",
		"no account by that name", "not our user", "user has moved", "invalid mailbox", "mailbox name not allowed",
		"has moved to", "mailbox unavailable",
	}},
	{smtp.HostUnknown, []string{
		"host unknown", "unknown host", "domain does not exist", "couldn't find any host", "no mx record found",
		"name or service not known", "unknown domain", "domain not found", "host not found",
		"couldn't find a mail exchanger", "no smtp service", "null mx", "unrouteable mail domain",
		"unrouteable domain", "domain may not exist", "invalid domain", "illegal host", "bad destination host",
		"name service error", "no such domain", "no relevant answers", "no mx found", "domain is not reachable",
		"host or domain name not found", "nonexistent domain", "domain name not found", "does not accept mail",
		"nullmx",
	}},
	{smtp.Blocklisted, []string{
		"blacklist", "blocklist", "blocked using", "blocked for abuse", "rbl", "dnsbl", "spamhaus", "reputation",
		"blocked by", "ip address is blocked",
		"ip адрес заблокирован", "ip-адрес заблокирован", "отправитель заблокирован",
		"has been blocked", "block list", "access denied",
		"invalid ip for sending", "poor sender", "use the smtp server of",
	}},
	{smtp.SpamContent, []string{"spam", "content rejected", "junk", "unsolicited", "message content", "bulk mail"}},
	{smtp.Expired, []string{
		"retry timeout exceeded", "retry time not reached", "in the queue too long", "delivery time expired",
		"cannot send message for", "giving up", "message expired", "too long in queue", "multiple retries",
		"delivery attempts exceeded", "failing for a long time", "unable to deliver in",
		"delivery failed 20 attempts", "timeout exceeded", "was aborted after", "could not be delivered for",
		"expired",
	}},
	{smtp.Network, []string{
		"connection timed out", "timed out", "connection refused", "connection reset", "network error",
		"network is unreachable", "no route to host", "host not reachable", "did not accept our requests to connect",
		"socket error", "lost connection", "unable to connect", "couldn't connect", "could not connect",
		"connection dropped", "establish an smtp connection", "connection failed", "unreachable", "host is down",
		"no answer from host", "not responding", "host did not respond",
	}},
	{smtp.Temporary, []string{
		"insufficient system", "system resources", "disk full", "no space left", "internal error",
		"temporary failure", "try again later", "local error", "configuration error", "server error",
		"temporarily unavailable", "system not accepting", "write error", "can't create output",
	}},
	{smtp.Syntax, []string{
		"syntax error", "malformed", "rfc 5322", "rfc 2822", "not rfc", "missing header", "bad header", "bare lf",
		"bare cr", "non-compliant", "not compliant",
	}},
}

// ourWords are about the sender, or about our address or host, and serverWords about the host that refuses, in lower
// case.
var (
	ourWords = []string{
		"your ip", "ip address", "ip adres", "ip-adres", "your host", "your server", "sender address",
		"sender's address", "address of the sender", "absender", "ihre ip", "expéditeur", "votre adresse",
		"отправител", "ip адрес", "ip-адрес", "вашего адреса", "ваш адрес", "ваш сервер",
		"ptr", "adresse ip", "remitente", "remetente", "mittente",
		"nadawc", "afzender", "发件人", "寄件人", "发送者", "您的ip", "送信者", "送信元", "발신자", "보낸 사람",
	}
	serverWords = []string{
		"服务器", "伺服器", "サーバ", "сервере недостаточно", "сервере превышена", "на сервере", "서버",
	}
)

// mailerNames are in the From of mail systems, in lower case: the local part, or the display name. daemonNames are
// those of no person.
var (
	mailerNames = append([]string{"postmaster", "system administrator"}, daemonNames...)
	daemonNames = []string{
		"mailer-daemon", "mailer daemon", "maildaemon", "mail-daemon", "post_master", "mdaemon", "mmdf",
		"mail delivery s", "mail deliver system", "mail.delivery.system", "mail system", "internet mail delivery",
		"mail administrator", "mailerdaemon", "email delivery system", "mail router", "smtp gateway", "bounce daemon",
		"undeliverable", "microsoft exchange", "microsoftexchange", "interscan", "delivery subsystem",
		"systemadministrator", "メール配送",
	}
)

var robotNames = []string{"no-reply", "noreply", "no_reply", "donotreply", "do-not-reply", "nobody@", "root@"}

// forwardMarks are above a mail that a person forwards, in lower case.
var forwardMarks = []string{"forwarded message", "begin forwarded", "weitergeleitete nachricht", "message transféré"}

var answerPrefixes = []string{
	"re:", "re :", "aw:", "sv:", "fwd:", "fw:", "wg:", "tr:", "rv:", "i:", "enc:", "转发:", "[fwd",
}

// autoPrefixes begin the Subject of automatic answers, and of nothing else, in lower case.
var autoPrefixes = []string{
	"automatic reply:", "auto reply:", "auto-reply:", "autoreply:", "out of office:", "out of office autoreply",
	"out of office reply", "out-of-office:", "out of the office:", "automated reply:", "automated response:",
	"auto response:", "auto-response:", "autoresponse:", "auto:", "vacation reply", "vacation:",
	"automatische antwort", "abwesenheitsnotiz", "abwesenheitsassistent", "abwesend:", "réponse automatique",
	"absence du bureau", "respuesta automática", "fuera de la oficina:", "resposta automática",
	"risposta automatica", "fuori sede:", "automatisch antwoord", "afwezigheidsbericht", "autosvar",
	"automaattinen vastaus", "automatyczna odpowiedź", "автоматический ответ",
	"автоответ", "自動返信", "自動応答", "自动回复", "自動回覆", "otomatik yanıt",
	"automatická odpověď", "automatikus válasz",
}

// awayPrefixes begin the Subject of automatic answers that have another sign of that, too, in lower case.
var awayPrefixes = []string{
	"out of office", "out-of-office", "out of the office", "away", "i am away", "i'm away", "on vacation",
	"on holiday", "vacation", "absence", "absent", "abwesen", "fuera de", "ausência", "ausente", "assenza",
	"afwezig", "urlaub", "thank you for your m", "thank you for contacting", "we have received your", "不在",
}

// challengeWords are in the Subject or the beginning of a challenge, in lower case.
var challengeWords = []string{
	"confirm that you are a human", "prove you are human", "prove that you are human",
	"verify that you are a real person", "sender verification", "please confirm your message",
	"confirm your email to", "sender confirmation", "verify your email to", "challenge-response",
	"challenge/response", "your message is being held until", "awaiting your confirmation", "requires confirmation",
	"approve your message", "spam arrest", "boxbe", "tmda", "to have your message delivered",
	"click the link below to deliver", "whitelist request", "added to my list of approved senders",
	"bestätigen sie, dass sie ein mensch", "bestätigen sie ihre nachricht", "merci de vous authentifier",
	"dans ma liste d'expéditeurs", "confirmez que vous êtes",
	"confirme que es una persona",
	"confirme que você é", "conferma di essere una persona",
	"not on my list of approved senders", "complete this verification", "verification required for",
}
