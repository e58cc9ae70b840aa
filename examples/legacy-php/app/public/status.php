<?php
// A public script.
declare(strict_types=1);

header('Content-Type: text/plain; charset=utf-8');

echo 'Up, and nobody signed in', ($_SERVER['REMOTE_USER'] ?? '') === '' ? '' : ' but ' . $_SERVER['REMOTE_USER'], ".\n";
