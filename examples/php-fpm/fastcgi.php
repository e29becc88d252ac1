<?php
/*
 * A request to a PHP-FPM pool over its socket, for the commands beside this file. A request is made in
 * pieces: what is to be read by the script may follow when it has said something.
 */

function fail(string $why): void
{
    fwrite(STDERR, basename($_SERVER['argv'][0]) . ": $why\n");
    exit(1);
}

/** One request to one script. */
final class Pool
{
    private $stream;
    private $out = '';    // what the script said after its header
    private $head = '';   // its header, while it is not whole
    private $errors = '';
    private $ended = false;

    public function __construct(string $socket, float $seconds)
    {
        $this->stream = @stream_socket_client("unix://$socket", $number, $text, $seconds);
        if (!$this->stream) {
            fail("$socket: $text");
        }
        stream_set_timeout($this->stream, (int)$seconds, (int)(fmod($seconds, 1) * 1000000));
    }

    /** The script, and its parameters beside those that FastCGI wants. */
    public function begin(string $method, string $script, array $more): void
    {
        $values = $more + [
            'GATEWAY_INTERFACE' => 'CGI/1.1',
            'REQUEST_METHOD' => $method,
            'SCRIPT_FILENAME' => $script,
            'SCRIPT_NAME' => '/' . basename($script),
            'CONTENT_TYPE' => 'application/octet-stream',
        ];
        $pairs = '';
        foreach ($values as $name => $value) {
            $pairs .= self::length(strlen($name)) . self::length(strlen($value)) . $name . $value;
        }
        $this->write(self::record(1, pack('nCx5', 1, 0)) . self::record(4, $pairs) . self::record(4, ''));
    }

    /** All that the script is to read. The end of the stream says so, too: for what CONTENT_LENGTH promised PHP waits. */
    public function give(string $body): void
    {
        $records = '';
        foreach ($body === '' ? [] : str_split($body, 65528) as $part) {
            $records .= self::record(5, $part);
        }
        $this->write($records . self::record(5, ''));
        stream_socket_shutdown($this->stream, STREAM_SHUT_WR);
    }

    /** Until the script has said this line, or is at its end. True: it has. */
    public function hears(string $line): bool
    {
        while (strpos("\n$this->out", "\n$line\n") === false && !$this->ended) {
            $this->take_record();
        }
        return strpos("\n$this->out", "\n$line\n") !== false;
    }

    /** All that it said: [standard output, standard error]. */
    public function said(): array
    {
        while (!$this->ended) {
            $this->take_record();
        }
        return [trim($this->out !== '' ? $this->out : $this->head), trim($this->errors)];
    }

    private static function record(int $type, string $content): string
    {
        return pack('CCnnCC', 1, $type, 1, strlen($content), 0, 0) . $content;
    }

    private static function length(int $n): string
    {
        return $n < 128 ? chr($n) : pack('N', $n | 0x80000000);
    }

    private function write(string $data): void
    {
        for ($at = 0; $at < strlen($data); $at += $n) {
            $n = @fwrite($this->stream, substr($data, $at, 65536));
            if (!$n) {
                fail('the pool takes no request');
            }
        }
    }

    private function read(int $n): string
    {
        $data = '';
        while (strlen($data) < $n) {
            $more = fread($this->stream, $n - strlen($data));
            if ($more === '' || $more === false) {
                fail('the pool does not answer, or ended without an answer; its log says why');
            }
            $data .= $more;
        }
        return $data;
    }

    private function take_record(): void
    {
        $head = unpack('Cversion/Ctype/nid/nlength/Cpadding', $this->read(8));
        $content = substr($this->read($head['length'] + $head['padding']), 0, $head['length']);
        if ($head['type'] === 3) {
            $this->ended = true;
        } elseif ($head['type'] === 7) {
            $this->errors .= $content;
        } elseif ($head['type'] === 6 && $this->head === null) {
            $this->out .= $content;
        } elseif ($head['type'] === 6) {
            $this->head .= $content;
            $parts = explode("\r\n\r\n", $this->head, 2);
            if (count($parts) === 2) {
                [$this->head, $this->out] = [null, $parts[1]];
            }
        }
    }
}
