<?php
// Sends standard input: compose.php HOW PORT TO. HOW is "mail", for PHP's own mail() and a Subject in Latin-1, or a charset, for
// PHPMailer and a mail of two parts.
require 'libphp-phpmailer/autoload.php';

[, $how, $port, $to] = $argv;
$text = stream_get_contents(STDIN);
if ($how === 'mail') {
    exit(mail($to, "caf\xe9", $text, "From: ann@source.test\r\nContent-Type: text/plain; charset=iso-8859-1") ? 0 : 1);
}
$mail = new PHPMailer\PHPMailer\PHPMailer(true);
$mail->isSMTP();
$mail->Host = '127.0.0.1';
$mail->Port = (int)$port;
$mail->SMTPAutoTLS = false;
$mail->CharSet = $how;
$mail->Encoding = '8bit';
$mail->setFrom('ann@source.test', 'Ann');
$mail->addAddress($to);
$mail->Subject = $how === 'utf-8' ? 'café' : "caf\xe9";
$mail->isHTML(true);
$mail->Body = $text;
$mail->AltBody = $text;
$mail->send();
