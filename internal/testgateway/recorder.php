<?php
// Runs before every script, and notes what PHP tells that script of the request.
file_put_contents(
    getenv('TESTGATEWAY_RECORDS', true),
    json_encode([
        'Server' => array_filter($_SERVER, 'is_string'),
        'Body' => file_get_contents('php://input'),
    ], JSON_INVALID_UTF8_SUBSTITUTE | JSON_THROW_ON_ERROR) . "\n",
    FILE_APPEND | LOCK_EX,
);
