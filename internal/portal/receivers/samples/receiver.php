<?php
// A receiver in PHP: WEBHOOK_SECRET=whsec_... php -S 127.0.0.1:4000 receiver.php
declare(strict_types=1);

// Returns 0, or the status to answer with.
function verify(string $id, string $stamp, string $signatures, string $body, string $key): int
{
    if ($id === '' || !preg_match('/^\d{1,12}$/D', $stamp) || abs(time() - (int) $stamp) > 300) {
        return 400;
    }
    // The bytes as they came, never re-encoded.
    $want = hash_hmac('sha256', "$id.$stamp.$body", $key, true);
    foreach (explode(' ', $signatures) as $signature) {
        $got = str_starts_with($signature, 'v1,') ? base64_decode(substr($signature, 3), true) : false;
        if ($got !== false && hash_equals($want, $got)) { // in constant time
            return 0;
        }
    }
    return 401;
}

$key = base64_decode(preg_replace('/^whsec_/', '', (string) getenv('WEBHOOK_SECRET')), true);
$body = (string) file_get_contents('php://input');
$id = $_SERVER['HTTP_WEBHOOK_ID'] ?? '';
$status = verify($id, $_SERVER['HTTP_WEBHOOK_TIMESTAMP'] ?? '', $_SERVER['HTTP_WEBHOOK_SIGNATURE'] ?? '', $body, (string) $key);

if ($status === 0) {
    // The same delivery may come again: it has the same id. Keep those you have
    // seen in your database; here each is a file that can be made only once.
    $dir = sys_get_temp_dir() . '/webhook-seen-' . $_SERVER['SERVER_PORT'];
    @mkdir($dir, 0700);
    $mark = @fopen($dir . '/' . hash('sha256', $id), 'x');
    if ($mark !== false) {
        $event = json_decode($body, true);
        $name = $event['event'] ?? $event['type'] ?? '';
        file_put_contents('php://stdout', "got $name {$_SERVER['HTTP_CONSENTWIRE_SUBJECT']} {$_SERVER['HTTP_CONSENTWIRE_SEQUENCE']}\n");
    }
}
http_response_code($status === 0 ? 204 : $status);
