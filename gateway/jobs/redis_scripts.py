"""The scripts by which jobs in Redis change from one state to the next, each at once or not at all.

Keys, behind the prefix: `job:ID` (a hash with the fields of `Job`), `images:ID:CHUNK` and `names:ID` and `results:ID`
(hashes by index), `chunks:ID` (by the time from which each can be claimed), `attempts:ID` and `claims:ID` (of
chunks), `urls:ID` (the chunks with URLs), `callers` (clients by the time when they were served), `sizes` (bytes by
client), `wake`, `webhooks` and `expiry` (jobs by the time when they are due), `unfinished`, `unfinished:CLIENT` and
`unannounced:CLIENT` (sets of jobs, the last of those whose webhook is to be delivered), `open` (the list of chunks that
are not computed, by whose length workers are scaled), `receipts` (jobs by their idempotency key), `totals`, `stored`.
None expires by itself, so that Redis evicts none of them with `volatile-lru`.
"""

PREFIX = "image-gateway:jobs:"

PRELUDE = f"""
local P = '{PREFIX}'
local clock = redis.call('TIME')
local now = tonumber(clock[1]) + tonumber(clock[2]) / 1000000
local function key(kind, id) return P .. kind .. ':' .. id end
local function get(id, field) return redis.call('HGET', key('job', id), field) end
local function number(id, field) return tonumber(get(id, field) or 0) end
local function set(id, ...) redis.call('HSET', key('job', id), ...) end
local function count(name, amount) redis.call('HINCRBY', P .. 'totals', name, amount) end
local function resize(id, amount)
  redis.call('HINCRBY', key('job', id), 'bytes', amount)
  redis.call('INCRBY', P .. 'stored', amount)
  local client = get(id, 'client')
  if redis.call('HINCRBY', P .. 'sizes', client, amount) <= 0 then redis.call('HDEL', P .. 'sizes', client) end
end
local function lacks_room(client, added, max_stored, max_client)
  if tonumber(redis.call('GET', P .. 'stored') or 0) + added > max_stored then return 'full' end
  if tonumber(redis.call('HGET', P .. 'sizes', client) or 0) + added > max_client then return 'share' end
end
local function is_open(id)
  local status = get(id, 'status')
  return status == 'queued' or status == 'running'
end
local function sleep(id)
  local first = redis.call('ZRANGE', key('chunks', id), 0, 0, 'WITHSCORES')
  if first[2] then redis.call('ZADD', P .. 'wake', first[2], id) else redis.call('ZREM', P .. 'wake', id) end
end
local function drop_images(id)
  for _, chunk in ipairs(redis.call('ZRANGE', key('chunks', id), 0, -1)) do
    redis.call('UNLINK', key('images', id) .. ':' .. chunk)
    redis.call('LREM', P .. 'open', 1, id .. ':' .. chunk)
  end
  redis.call('DEL', key('chunks', id), key('attempts', id), key('claims', id), key('urls', id))
  resize(id, 0 - number(id, 'image_bytes'))
  set(id, 'image_bytes', 0)
  redis.call('ZREM', P .. 'wake', id)
end
local function close(id)
  redis.call('SREM', P .. 'unfinished', id)
  local client = get(id, 'client')
  redis.call('SREM', key('unfinished', client), id)
  if redis.call('EXISTS', key('unfinished', client)) == 0 then redis.call('ZREM', P .. 'callers', client) end
end
local function finish(id, status, problem, retention_s)
  drop_images(id)
  close(id)
  set(id, 'status', status, 'finished', now, 'expires', now + retention_s)
  if problem ~= '' then set(id, 'problem', problem) end
  redis.call('ZADD', P .. 'expiry', now + retention_s, id)
  if get(id, 'webhook') then
    redis.call('ZADD', P .. 'webhooks', now, id)
    redis.call('SADD', key('unannounced', get(id, 'client')), id)
  end
  count(status, 1)
end
local function settle(id)
  redis.call('ZREM', P .. 'webhooks', id)
  redis.call('SREM', key('unannounced', get(id, 'client')), id)
end
local function delete(id)
  if get(id, 'client') then
    drop_images(id)
    close(id)
    settle(id)
    resize(id, 0 - number(id, 'bytes'))
    local receipt = get(id, 'receipt')
    if receipt then redis.call('HDEL', P .. 'receipts', receipt) end
  end
  redis.call('UNLINK', key('job', id), key('names', id), key('results', id))
  redis.call('ZREM', P .. 'expiry', id)
end
"""

CHECK_ROOM = """
local client, receipt, max_unfinished = ARGV[1], ARGV[2], tonumber(ARGV[3])
if receipt ~= '' and redis.call('HEXISTS', P .. 'receipts', receipt) == 1 then return 'known' end
if redis.call('SCARD', key('unfinished', client)) >= max_unfinished then return 'many' end
return lacks_room(client, 0, tonumber(ARGV[4]), tonumber(ARGV[5])) or 'room'
"""

FIND_RECEIPT = """
local id = redis.call('HGET', P .. 'receipts', ARGV[1])
if not id then return false end
local expires = get(id, 'expires')
if expires and tonumber(expires) <= now then return false end
return {id, get(id, 'fingerprint')}
"""

STAGE = """
local id, storing_s, bytes = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
set(id, 'status', 'receiving', 'created', now, 'total', 0, 'answered', 0, 'failed', 0, 'turn', 0, 'image_bytes', 0,
  'webhook_attempts', 0, unpack(ARGV, 4))
resize(id, bytes)
redis.call('ZADD', P .. 'expiry', now + storing_s, id)
"""

ADD_ITEMS = """
local id, chunk, overhead = ARGV[1], ARGV[2], tonumber(ARGV[3])
if get(id, 'status') ~= 'receiving' then return 'gone' end
local added = 0
for i = 6, #ARGV, 4 do added = added + overhead + #ARGV[i + 1] + #ARGV[i + 3] end
local lack = lacks_room(get(id, 'client'), added, tonumber(ARGV[4]), tonumber(ARGV[5]))
if lack then return lack end
local total, failed, size = 0, 0, 0
for i = 6, #ARGV, 4 do
  local index, name, kind, content = ARGV[i], ARGV[i + 1], ARGV[i + 2], ARGV[i + 3]
  total = total + 1
  if name ~= '' then redis.call('HSET', key('names', id), index, name) end
  if kind == 'f' then
    failed = failed + redis.call('HSETNX', key('results', id), index, kind .. content)
  else
    redis.call('HSET', key('images', id) .. ':' .. chunk, index, kind .. content)
    if kind == 'u' then redis.call('SADD', key('urls', id), chunk) end
    size = size + #content
  end
end
resize(id, added)
redis.call('HINCRBY', key('job', id), 'total', total)
redis.call('HINCRBY', key('job', id), 'failed', failed)
redis.call('HINCRBY', key('job', id), 'image_bytes', size)
if failed < total then redis.call('ZADD', key('chunks', id), 0, chunk) end
return 'added'
"""

PUBLISH = """
local id, receipt, fingerprint = ARGV[1], ARGV[2], ARGV[3]
local max_unfinished, lease_s, retention_s, max_webhooks = unpack(ARGV, 6)
local earlier = receipt ~= '' and redis.call('HGET', P .. 'receipts', receipt)
if earlier then
  local expires = get(earlier, 'expires')
  if expires and tonumber(expires) <= now then
    delete(earlier)
  elseif get(earlier, 'fingerprint') ~= fingerprint then
    return {'reused', ''}
  else
    delete(id)
    return {'id', earlier}
  end
end
local client = get(id, 'client')
if not client then return {'gone', ''} end
if redis.call('SCARD', key('unfinished', client)) >= tonumber(max_unfinished) then return {'many', ''} end
if get(id, 'webhook') and redis.call('SCARD', key('unannounced', client)) >= tonumber(max_webhooks) then
  return {'webhooks', ''}
end
local lack = lacks_room(client, 0, tonumber(ARGV[4]), tonumber(ARGV[5]))
if lack then return {lack, ''} end
set(id, 'status', 'queued', 'created', now, 'fingerprint', fingerprint)
if receipt ~= '' then
  set(id, 'receipt', receipt)
  redis.call('HSET', P .. 'receipts', receipt, id)
end
redis.call('ZREM', P .. 'expiry', id)
redis.call('SADD', P .. 'unfinished', id)
redis.call('SADD', key('unfinished', client), id)
redis.call('ZADD', P .. 'callers', 'NX', now, client)
for _, chunk in ipairs(redis.call('ZRANGE', key('chunks', id), 0, -1)) do
  redis.call('RPUSH', P .. 'open', id .. ':' .. chunk)
end
redis.call('ZADD', P .. 'wake', now + lease_s, id)
count('created', 1)
count('problems', number(id, 'failed'))
if number(id, 'failed') == number(id, 'total') then finish(id, 'done', '', retention_s) end
return {'id', id}
"""

DISCARD = "if get(ARGV[1], 'status') == 'receiving' then delete(ARGV[1]) end"

FINISH = "if is_open(ARGV[1]) then finish(ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4])) end"

NEXT_TURN = """
local own_id, turn, urls = ARGV[1], tonumber(ARGV[2]), ARGV[3] == '1'
if not is_open(own_id) or number(own_id, 'turn') ~= turn then return false end
local function next_chunk(id) return redis.call('ZRANGEBYSCORE', key('chunks', id), '-inf', now, 'LIMIT', 0, 1)[1] end
if not next_chunk(own_id) then return {own_id, turn, 0} end
for _, client in ipairs(redis.call('ZRANGE', P .. 'callers', 0, -1)) do
  local first, first_at, first_has_urls
  for _, id in ipairs(redis.call('SMEMBERS', key('unfinished', client))) do
    local chunk = next_chunk(id)
    local has_urls = chunk and redis.call('SISMEMBER', key('urls', id), chunk)
    local wake_at = id == own_id and 0 or tonumber(redis.call('ZSCORE', P .. 'wake', id) or 0)
    if chunk and (urls or has_urls == 0) and (not first or wake_at < first_at) then
      first, first_at, first_has_urls = id, wake_at, has_urls
    end
  end
  if first then return {first, number(first, 'turn'), first_has_urls} end
end
return {own_id, turn, 1}
"""

CLAIM = """
local id, turn, lease_s = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
if not is_open(id) or number(id, 'turn') ~= turn then return false end
local chunks = redis.call('ZRANGEBYSCORE', key('chunks', id), '-inf', now, 'LIMIT', 0, 2)
if not chunks[1] then
  sleep(id)
  return false
end
redis.call('ZADD', key('chunks', id), now + lease_s, chunks[1])
set(id, 'status', 'running', 'turn', turn + 1)
redis.call('ZADD', P .. 'callers', now, get(id, 'client'))
redis.call('HSETNX', key('job', id), 'started', now)
if chunks[2] then redis.call('ZADD', P .. 'wake', now + lease_s, id) else sleep(id) end
local claims = redis.call('HINCRBY', key('claims', id), chunks[1], 1)
return {chunks[1], redis.call('HGET', key('attempts', id), chunks[1]) or '', claims, chunks[2] and 1 or 0}
"""

RENEW = """
for i = 2, #ARGV, 2 do redis.call('ZADD', key('chunks', ARGV[i]), 'XX', now + tonumber(ARGV[1]), ARGV[i + 1]) end
"""

COMPLETE = """
local id, chunk, model, version, retention_s = ARGV[1], ARGV[2], ARGV[3], ARGV[4], tonumber(ARGV[5])
if not is_open(id) then return 1 end
local pinned = version ~= '' and get(id, 'version')
if pinned and (pinned ~= version or get(id, 'model') ~= model) then return 0 end
local images = key('images', id) .. ':' .. chunk
local added, freed = 0, 0
for i = 8, #ARGV, 2 do
  if redis.call('HEXISTS', key('results', id), ARGV[i]) == 0 then added = added + #ARGV[i + 1] end
  freed = freed + math.max(0, redis.call('HSTRLEN', images, ARGV[i]) - 1)
end
local lack = added > freed and lacks_room(get(id, 'client'), added - freed, tonumber(ARGV[6]), tonumber(ARGV[7]))
if lack then return lack end
if version ~= '' and not pinned then set(id, 'model', model, 'version', version) end
local answered, failed = 0, 0
for i = 8, #ARGV, 2 do
  local index, result = ARGV[i], ARGV[i + 1]
  if redis.call('HSETNX', key('results', id), index, result) == 1 then
    if result:sub(1, 1) == 'f' then failed = failed + 1 else answered = answered + 1 end
  end
  redis.call('HDEL', images, index)
end
redis.call('HINCRBY', key('job', id), 'answered', answered)
redis.call('HINCRBY', key('job', id), 'failed', failed)
redis.call('HINCRBY', key('job', id), 'image_bytes', 0 - freed)
resize(id, added - freed)
count('answered', answered)
count('problems', failed)
redis.call('HDEL', key('claims', id), chunk)
if redis.call('EXISTS', images) == 0 then
  redis.call('ZREM', key('chunks', id), chunk)
  redis.call('LREM', P .. 'open', 1, id .. ':' .. chunk)
end
if number(id, 'answered') + number(id, 'failed') == number(id, 'total') then finish(id, 'done', '', retention_s) end
return 1
"""

RELEASE = """
local id, chunk, at, state = ARGV[1], ARGV[2], now + tonumber(ARGV[3]), ARGV[4]
if not is_open(id) or not redis.call('ZSCORE', key('chunks', id), chunk) then return end
redis.call('HDEL', key('claims', id), chunk) -- first: after a deletion, Redis writes although its memory is full
redis.call('ZADD', key('chunks', id), at, chunk)
redis.call('HSET', key('attempts', id), chunk, state)
local wake_at = redis.call('ZSCORE', P .. 'wake', id)
if not wake_at or tonumber(wake_at) > at then redis.call('ZADD', P .. 'wake', at, id) end
"""

DUE_JOBS = """
local due = {}
for _, id in ipairs(redis.call('ZRANGEBYSCORE', P .. 'wake', '-inf', now, 'LIMIT', 0, 1000)) do
  redis.call('ZADD', P .. 'wake', now + tonumber(ARGV[1]), id)
  table.insert(due, id)
  table.insert(due, get(id, 'turn') or '0')
end
return due
"""

DUE_WEBHOOKS = """
local lease_s, limit = tonumber(ARGV[1]), tonumber(ARGV[2])
local busy, due = {}, {}
for i = 3, #ARGV do busy[ARGV[i]] = true end
for _, id in ipairs(redis.call('ZRANGEBYSCORE', P .. 'webhooks', '-inf', now, 'LIMIT', 0, 1000)) do
  local client = get(id, 'client')
  if client and not busy[client] then
    busy[client] = true
    redis.call('ZADD', P .. 'webhooks', now + lease_s, id)
    table.insert(due, id)
    table.insert(due, client)
    if #due == 2 * limit then break end
  else
    redis.call('ZADD', P .. 'webhooks', now, id) -- behind those of others
  end
end
return due
"""

SETTLE_WEBHOOK = """
local id, status, wait_s = ARGV[1], ARGV[2], tonumber(ARGV[3])
if not get(id, 'webhook') then return end
set(id, 'webhook', status)
if status == 'pending' then
  redis.call('HINCRBY', key('job', id), 'webhook_attempts', 1)
  redis.call('ZADD', P .. 'webhooks', now + wait_s, id)
else
  settle(id)
end
"""

SWEEP = """
local expired = redis.call('ZRANGEBYSCORE', P .. 'expiry', '-inf', now, 'LIMIT', 0, 100)
for _, id in ipairs(expired) do delete(id) end
return #expired
"""
