-- Repeat one request; every answer must have status 200 and contain the expected texts in their order.
-- wrk -s check.lua URL -- CONTENT_TYPE BODY_FILE EXPECTED_FILE; EXPECTED_FILE has one text per line.

local expected = {}
local formatted_request
-- Global, since thread:get reads only globals.
answers, wrong, first_wrong = 0, 0, nil

function init(arguments)
  wrk.method = "POST"
  wrk.headers["Content-Type"] = arguments[1]
  local body = assert(io.open(arguments[2], "rb"))
  wrk.body = body:read("*a")
  body:close()
  for line in io.lines(arguments[3]) do
    expected[#expected + 1] = line
  end
  formatted_request = wrk.format()
end

function request()
  return formatted_request
end

function response(status, _, body)
  answers = answers + 1
  local position = 1
  for _, text in ipairs(expected) do
    local first, last = body:find(text, position, true)
    if status ~= 200 or not first then
      wrong = wrong + 1
      first_wrong = first_wrong or (status .. " " .. body:sub(1, 300))
      return
    end
    position = last + 1
  end
end

local worker

function setup(thread)
  worker = thread
end

function done(summary, latency, _)
  local errors = summary.errors
  local failed = errors.connect + errors.read + errors.write + errors.timeout
  io.write(string.format(
    'RESULT {"answers": %d, "wrong": %d, "failed": %d, "wall_s": %.6f, "p50_ms": %.3f, "p99_ms": %.3f}\n',
    worker:get("answers"), worker:get("wrong"), failed, summary.duration / 1e6,
    latency:percentile(50) / 1e3, latency:percentile(99) / 1e3))
  if worker:get("first_wrong") then
    io.write("WRONG " .. worker:get("first_wrong") .. "\n")
  end
end
