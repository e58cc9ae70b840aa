<?php
// The front controller: every page of the application, by the path that the browser asked for.
declare(strict_types=1);

header('Content-Type: text/plain; charset=utf-8');

$page = strtok($_SERVER['REQUEST_URI'], '?');
echo "Page:               $page\n";
foreach (['REMOTE_USER', 'HTTP_REMOTE_USER', 'HTTP_REMOTE_CLIENT', 'HTTP_REMOTE_SCOPE'] as $name) {
    echo str_pad("$name:", 20), $_SERVER[$name] ?? '', "\n";
}
