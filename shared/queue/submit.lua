-- Accept many jobs in one round trip: create each record, append its chunks, watch it.
--
-- request  {watcher, retention_ms, forward_limit_us, queue_limit_tokens, tenant_limit_tokens,
--           jobs: [{id, model, fingerprint, lane, tenant, layout, rejected, top_k, deadline_us,
--                   in_time_tokens, admit_us, preprocess_us, trace, chunks: [{rows, tokens, longest, payload}]}]}
--          fingerprint, layout and payload are blobs
--          `rejected`: how many rows failed before the queue; the layout has them
--
-- Returns for each job one of
--   'queued <microseconds now>'
--   the record, a list                    the same payload was accepted before; it is watched
--   'conflict'                            the id belongs to another payload
--   'full <queued tokens> <limit> <whose>' nothing was written
--   'late <tokens before it>'             nothing was written: it would not begin by its deadline
--   'error <why>'                         nothing was written
--
-- Safe to repeat: a repeat finds its own job. The only verb that Redis refuses at maxmemory.

-- The load of a model as it was before this verb, by model and tenant: the tenant's, interactive, large, bulk, raw lanes.
local loads = {}

local function load_of(job)
  local key, tenant = prefix .. 'load:' .. job.model, 'tenant:' .. job.tenant
  local names = {tenant, 'tokens:interactive', 'tokens:large', 'tokens:bulk', 'tokens:raw', 'tokens:raw-large', 'tokens:raw-bulk'}
  loads[key .. tenant] = loads[key .. tenant] or redis.call('HMGET', key, unpack(names))
  local added, load = unwritten[key] or {}, {}
  for i, name in ipairs(names) do load[i] = (loads[key .. tenant][i] or 0) + (added[name] or 0) end
  return unpack(load)
end

local function room(job, tokens)
  local tenants, interactive, large, bulk, raw, raw_large, raw_bulk = load_of(job)
  local queued = interactive + large + bulk + raw + raw_large + raw_bulk
  if queued + tokens > request.queue_limit_tokens then
    return table.concat({'full', queued, request.queue_limit_tokens, 'model'}, ' ')
  end
  if tenants + tokens > request.tenant_limit_tokens then
    return table.concat({'full', tenants, request.tenant_limit_tokens, 'tenant'}, ' ')
  end
  local before = queued
  if job.lane == 'interactive' then before = interactive end
  if job.lane == 'large' then before = interactive + large + math.min(bulk, large) end -- it takes turns with bulk
  if job.in_time_tokens and before > job.in_time_tokens then
    return 'late ' .. before
  end
end

local function create(job, key, rows)
  local fields = {'state', 'queued', 'model', job.model, 'print', blob(job.fingerprint), 'rows', rows + job.rejected,
                  'left', rows, 'fresh', rows, 'at', digits(now), 'keep', request.retention_ms,
                  'admit', job.admit_us, 'prep', job.preprocess_us}
  local function add(name, value) fields[#fields + 1] = name; fields[#fields + 1] = value end
  if job.deadline_us then add('due', digits(now + job.deadline_us)) end
  if job.top_k ~= 1 then add('top', job.top_k) end
  if job.rejected > 0 then add('bad', job.rejected) end
  if request.watcher ~= '' then add('watch', request.watcher) end
  redis.call('HSET', key, unpack(fields))
  if job.layout ~= 0 then redis.call('HSET', prefix .. 'outcomes:' .. job.id, 'layout', blob(job.layout)) end
  for i, chunk in ipairs(job.chunks) do
    append(job.model, job.lane, job.id, digits(now), i - 1, chunk, job.tenant, job.trace)
  end
  if rows == 0 then finish(open_record(job.id, unpack(ENDING)), 'failed') end -- all rejected: nobody else would end it
end

local answers = each(request.jobs, function(job)
  local key = prefix .. 'job:' .. job.id
  local print = redis.call('HGET', key, 'print')
  if print and print ~= blob(job.fingerprint) then return 'conflict' end
  if print then return watch(job.id, request.watcher, request.forward_limit_us) end

  local tokens, rows = 0, 0
  for _, chunk in ipairs(job.chunks) do tokens = tokens + chunk.tokens; rows = rows + chunk.rows end
  local refusal = room(job, tokens)
  if refusal then return refusal end
  local ok, why = pcall(create, job, key, rows)
  if not ok then -- chunks already appended find no record and are acknowledged where they are met
    redis.call('DEL', key, prefix .. 'outcomes:' .. job.id)
    error(why, 0)
  end
  return 'queued ' .. digits(now)
end)
write_load()
return answers
