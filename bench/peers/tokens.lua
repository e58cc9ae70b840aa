-- The requests of wrk: with the tokens of `count` numbers in turn, from `first` on. With one thread, as it has to be run,
-- a number comes again only when all have come.

local head = "GET /orders/4711 HTTP/1.1\r\n" ..
	"Host: api.example.com\r\n" ..
	"Accept: application/json\r\n" ..
	"Accept-Encoding: gzip\r\n" ..
	"User-Agent: bench\r\n" ..
	"Authorization: Bearer pat_"

-- Requests that come again are written once.
local most_written = 100000

local first, count, sent
local written = {}

function init(args)
	first, count, sent = tonumber(args[1]), tonumber(args[2]), 0
end

local function write(number)
	return head .. string.format("%043d", number) .. "\r\n\r\n"
end

function request()
	local turn = sent % count
	sent = sent + 1
	if count > most_written then
		return write(first + turn)
	end
	local text = written[turn]
	if text == nil then
		text = write(first + turn)
		written[turn] = text
	end
	return text
end

function done(summary, latency, requests)
	local errors = summary.errors
	local failed = errors.connect + errors.read + errors.write + errors.status + errors.timeout
	io.write(string.format("figures %d %d %d\n", summary.requests, summary.duration, failed))
end
