<?php
// Sends the body of standard input by PHPMailer: submit.php PORT starttls|tls PASSWORD FROM TO
require 'libphp-phpmailer/autoload.php';

[, $port, $how, $password, $from, $to] = $argv;
$mail = new PHPMailer\PHPMailer\PHPMailer(true);
$mail->isSMTP();
$mail->Host = '127.0.0.1';
$mail->Port = (int)$port;
$mail->SMTPSecure = $how === 'tls' ? PHPMailer\PHPMailer\PHPMailer::ENCRYPTION_SMTPS : PHPMailer\PHPMailer\PHPMailer::ENCRYPTION_STARTTLS;
$mail->SMTPOptions = ['ssl' => ['verify_peer' => false, 'verify_peer_name' => false]];
$mail->SMTPAuth = true;
$mail->Username = 'ann';
$mail->Password = $password;
$mail->CharSet = 'utf-8';
$mail->Encoding = '8bit';
$mail->setFrom($from);
$mail->addAddress($to);
$mail->Subject = 'hello';
$mail->Body = explode("\n\n", stream_get_contents(STDIN), 2)[1];
$mail->send();
