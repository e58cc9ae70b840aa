<?php
// A script of its own, as old applications have them beside the front controller.
declare(strict_types=1);

header('Content-Type: text/plain; charset=utf-8');

echo "The report of {$_SERVER['REMOTE_USER']}.\n";
