package bounce

import "github.com/postrider/postrider/smtp"

// Portuguese returns the texts of a report in Portuguese.
func Portuguese() *Texts {
	return &Texts{
		Language: "pt",
		From:     "Sistema de entrega de correio",
		Date:     "02/01/2006 15:04 (UTC -0700)",
		Subject: map[Action]string{
			Failed:    "A sua mensagem não pôde ser entregue",
			Delayed:   "A sua mensagem está atrasada",
			Relayed:   "A sua mensagem foi encaminhada",
			Expanded:  "A sua mensagem foi enviada a um grupo de endereços",
			Delivered: "A sua mensagem foi entregue",
		},
		Intro: "Este é um relatório automático do sistema de correio em {host} sobre uma mensagem enviada do seu " +
			"endereço.",
		About:    "Assunto: {subject}",
		Accepted: "Aceita em: {date}",
		List: map[Action]string{
			Failed:  "A mensagem não pôde ser entregue a:",
			Delayed: "A mensagem está atrasada. Ainda não foi entregue a:",
			Relayed: "A mensagem foi encaminhada para um sistema de correio que não confirma entregas. " +
				"Está a caminho de:",
			Expanded:  "A mensagem chegou e segue agora para todos os membros de:",
			Delivered: "A mensagem foi entregue a:",
		},
		SentTo:  "(enviada para {address})",
		Reasons: portugueseReasons(),
		RequireTLS: ReasonTexts{
			"A mensagem exige TLS verificado em cada servidor no seu caminho (REQUIRETLS). " +
				"O sistema de correio do destinatário não o oferece.",
			"Envie a mensagem sem essa exigência, ou contacte o destinatário de outra forma.",
		},
		Tried:      "Todas as tentativas de entrega falharam. Não haverá mais tentativas.",
		TriedUntil: "Todas as tentativas de entrega falharam, a última em {date}. Não haverá mais tentativas.",
		Untried:    "A mensagem não pôde ser enviada a tempo. Não haverá mais tentativas.",
		Unknown:    "A mensagem pode ter chegado mesmo assim. Pergunte ao destinatário antes de a enviar outra vez.",
		Retry:      "Não é preciso fazer nada: a entrega será tentada de novo.",
		RetryUntil: "Não é preciso fazer nada: a entrega será tentada de novo até {date}.",
		Told:       "Se a entrega não for possível, receberá outro aviso.",

		Answered:     "O servidor {host} respondeu:",
		AnsweredHere: "O sistema de correio seguinte respondeu:",
		FailedAt:     "A última tentativa falhou em {host}:",
		Details:      "Detalhes:",
		TakenBy:      "O servidor {host} aceitou a mensagem.",

		Members:     "Não haverá relatórios sobre as entregas aos membros.",
		MembersTold: "Se a entrega a algum deles não for possível, receberá um aviso.",

		Others:          "Destinatários que não constam desta lista: {n}.",
		HeaderAttached:  "O cabeçalho da mensagem segue em anexo.",
		MessageAttached: "A mensagem segue em anexo.",
		Help:            "Se precisar de ajuda, responda a este aviso: o administrador de {host} irá lê-lo.",
	}
}

func portugueseReasons() map[smtp.Reason]ReasonTexts {
	const again = "O problema pode já estar resolvido: pode enviar a mensagem outra vez."
	return map[smtp.Reason]ReasonTexts{
		smtp.Other: {
			"A mensagem não foi aceita.",
			"Tente contactar o destinatário de outra forma, ou mostre este relatório ao seu administrador.",
		},
		smtp.Network: {
			"Não foi possível contactar o sistema de correio do destinatário, ou a ligação caiu.",
			again,
		},
		smtp.RateLimited: {
			"O sistema de correio do destinatário não aceita tantas mensagens de uma só vez.",
			"Envie a mensagem outra vez daqui a algumas horas.",
		},
		smtp.Greylisted: {
			"O sistema de correio do destinatário pediu uma nova tentativa mais tarde, como faz quando ainda não " +
				"conhece o remetente.",
			"Envie a mensagem outra vez.",
		},
		smtp.Blocklisted: {
			"O sistema de correio do destinatário não aceita mensagens vindas daqui, por causa de uma lista de " +
				"bloqueio ou de má reputação.",
			"Mostre este relatório ao seu administrador, que pode pedir a saída da lista. Até lá, contacte o " +
				"destinatário de outra forma.",
		},
		smtp.UserUnknown: {
			"Este endereço não existe.",
			"Verifique se tem algum erro, e envie a mensagem outra vez para o endereço certo.",
		},
		smtp.MailboxFull: {
			"A caixa de correio está cheia.",
			"Avise o destinatário de outra forma, e envie a mensagem outra vez quando houver espaço.",
		},
		smtp.MailboxDisabled: {
			"A caixa de correio não recebe mensagens: pode estar encerrada, suspensa ou fora de uso.",
			"Peça outro endereço ao destinatário.",
		},
		smtp.HostUnknown: {
			"A parte do endereço depois de \"@\" não existe, ou não recebe mensagens.",
			"Verifique se o endereço tem algum erro, e envie a mensagem outra vez para o endereço certo.",
		},
		smtp.SpamContent: {
			"O sistema de correio do destinatário considera a mensagem indesejada, ou não aceita algo " +
				"que ela contém.",
			"A mesma mensagem será recusada outra vez. Altere-a, em especial as ligações e os anexos, ou contacte " +
				"o destinatário de outra forma.",
		},
		smtp.PolicyAuth: {
			"O sistema de correio do destinatário não conseguiu confirmar que a mensagem vem do seu domínio.",
			"Mostre este relatório ao seu administrador: há uma configuração do seu domínio ou do seu sistema " +
				"de correio a corrigir.",
		},
		smtp.TooBig: {
			"A mensagem é grande demais.",
			"Envie uma mensagem menor, ou um link em vez do anexo.",
		},
		smtp.TLS: {
			"Não houve uma ligação segura ao sistema de correio do destinatário.",
			"Mostre este relatório ao seu administrador, ou contacte o destinatário de outra forma.",
		},
		smtp.Virus: {
			"A mensagem contém um vírus, ou um anexo de um tipo que o sistema de correio do destinatário " +
				"não aceita.",
			"Verifique se o seu computador tem vírus, e não envie o anexo outra vez.",
		},
		smtp.RelayDenied: {
			"Um sistema de correio no caminho não aceita daqui mensagens para este endereço.",
			"Verifique se o endereço tem algum erro. Se estiver certo, mostre este relatório ao seu administrador.",
		},
		smtp.Syntax: {
			"A mensagem, ou o endereço do remetente, não tem a forma que o sistema de correio do destinatário " +
				"exige.",
			"Envie-a com outro programa, ou mostre este relatório ao seu administrador.",
		},
		smtp.Expired:   {"O prazo para a entrega terminou.", "Pode enviar a mensagem outra vez."},
		smtp.Temporary: {"O sistema de correio do destinatário tem um problema próprio.", again},
		smtp.NoSource:  {"Este sistema de correio não conseguiu enviar mensagens a outros durante algum tempo.", again},
	}
}
