-- What Redis adds to Lua, as far as it is best said in Lua. Run once by the machine, with a table of functions of ours; it
-- returns what the machine needs. Everything here is local: scripts see what is put into `real` and nothing else.
local raw = ...
local error, getmetatable, ipairs, next, pairs, pcall, rawset, select, setmetatable, tostring, type, xpcall =
    error, getmetatable, ipairs, next, pairs, pcall, rawset, select, setmetatable, tostring, type, xpcall
local describe, where, find, gsub = raw.describe, raw.where, string.find, string.gsub

-- Tables that cannot be changed. Scripts are given an empty table whose values are found in the one behind it.
local behind = setmetatable({}, { __mode = "k" })
local READONLY = "Attempt to modify a readonly table"
local function refuse_change()
    error(READONLY, 2)
end
local function protect(t)
    local shown = setmetatable({}, { __index = t, __newindex = refuse_change })
    behind[shown] = t
    return shown
end

-- What is not there is an error, not nil.
local function refuse_absent(_, name)
    error("Script attempted to access nonexistent global variable '" .. tostring(name) .. "'", 2)
end

-- Errors of ours are objects of the machine: scripts know them as a table with a text, or as a text.
local function known(problem)
    if type(problem) == "userdata" then
        return describe(problem)
    elseif type(problem) == "string" then
        -- Where in this file it was raised is nobody's business.
        return (gsub(problem, "^prelude:%d+: ", ""))
    end
    return problem
end

-- Scripts of before Redis 7 expect a text where an error is caught.
local function settle_caught(ok, caught, ...)
    if ok then
        return ok, caught, ...
    end
    caught = known(caught)
    if type(caught) == "table" then
        local text = caught.err
        if type(text) == "string" or type(text) == "number" then
            caught = text
        end
    end
    return false, caught
end

local function settle_resumed(ok, caught, ...)
    if ok then
        return ok, caught, ...
    end
    return false, known(caught)
end

local function add_builtins(real, shown)
    for _, name in ipairs(raw.builtins) do
        real[name] = raw.globals[name]
    end
    function real.pcall(...)
        return settle_caught(pcall(...))
    end
    function real.xpcall(f, handler)
        return xpcall(f, function(problem)
            return handler(known(problem))
        end)
    end
    function real.rawset(t, key, value)
        if behind[t] then
            error(READONLY, 0)
        end
        return rawset(t, key, value)
    end
    function real.setmetatable(t, meta)
        if behind[t] then
            error(READONLY, 0)
        end
        return setmetatable(t, meta)
    end
    function real.getmetatable(t)
        local meta = getmetatable(t)
        if behind[t] or type(t) == "string" then
            return meta and protect(meta)
        end
        return meta
    end
    function real.next(t, key)
        return next(behind[t] or t, key)
    end
    function real.pairs(t)
        return pairs(behind[t] or t)
    end
    function real.rawget(t, key)
        return raw.globals.rawget(behind[t] or t, key)
    end
    -- Text only: what is compiled could be anything.
    function real.loadstring(text, name)
        local f, problem = raw.compile(text, name)
        if f then
            return setfenv(f, shown)
        end
        return nil, problem
    end
    function real.load(pieces, name)
        local all = {}
        for piece in pieces do
            if piece == "" then
                break
            end
            all[#all + 1] = piece
        end
        return real.loadstring(table.concat(all), name or "=(load)")
    end
    for _, name in ipairs({ "string", "table", "math", "coroutine" }) do
        local copy = {}
        for key, value in pairs(raw.globals[name]) do
            copy[key] = value
        end
        real[name] = copy
    end
    -- Lua's matching recurses for each item of the pattern: a long one would go through the end of the stack.
    local function check(pattern)
        if type(pattern) == "string" and #pattern > raw.pattern_bytes_max then
            error("pattern too complex", 3)
        end
    end
    local match, gmatch = real.string.match, real.string.gmatch
    function real.string.find(...)
        local _, pattern, _, plain = ...
        if not plain then
            check(pattern)
        end
        return find(...)
    end
    function real.string.match(...)
        check((select(2, ...)))
        return match(...)
    end
    function real.string.gmatch(...)
        check((select(2, ...)))
        return gmatch(...)
    end
    function real.string.gsub(...)
        check((select(2, ...)))
        return gsub(...)
    end
    local resume = real.coroutine.resume
    function real.coroutine.resume(...)
        return settle_resumed(resume(...))
    end
    real.math.random, real.math.randomseed = raw.random, raw.randomseed
    for name, library in pairs(raw.libraries) do
        local copy = {}
        for key, value in pairs(library) do
            copy[key] = value
        end
        real[name] = copy
    end
end

-- A table of globals for scripts, and what scripts see of it.
local function make_globals(extend)
    local real = {}
    local shown = setmetatable({}, { __index = real, __newindex = refuse_change })
    behind[shown] = real
    add_builtins(real, shown)
    real.redis = {}
    for _, part in ipairs({ raw.redis, raw.constants }) do
        for name, value in pairs(part) do
            real.redis[name] = value
        end
    end
    extend(real.redis)
    real._G = shown
    for name, value in pairs(real) do
        if type(value) == "table" and value ~= shown then
            real[name] = protect(value)
        end
    end
    setmetatable(real, { __index = refuse_absent })
    return real, shown
end

-- As `make_globals`, for libraries: while their code is loaded they find little else than the function that registers functions. The
-- second result switches.
local function make_library_globals(extend)
    local real, shown = make_globals(function() end)
    local redis = {}
    for name, value in pairs(raw.constants) do
        if name:sub(1, 4) ~= "REPL" then
            redis[name] = value
        end
    end
    redis.log = raw.redis.log
    extend(redis)
    setmetatable(redis, { __index = refuse_absent })
    local at_load = setmetatable({ redis = protect(redis) }, { __index = refuse_absent })
    local meta = getmetatable(shown)
    return shown, function(is_loading)
        meta.__index = is_loading and at_load or real
    end
end

-- The text of an error and where in the script it came about.
local function explain(problem)
    local source, line = where()
    local is_raised_here = type(problem) == "string" and find(problem, "^prelude:%d+: ")
    problem = known(problem)
    if is_raised_here and source then
        problem = gsub(source, "^@", "") .. ":" .. line .. ": " .. problem
    end
    if type(problem) ~= "table" then
        problem = { err = "ERR " .. tostring(problem) }
    end
    if source then
        rawset(problem, "source", source)
        rawset(problem, "line", line)
    end
    return problem
end

local function run(f, keys, argv)
    return xpcall(function()
        return (f(keys, argv))
    end, explain)
end

-- Strings find their methods in the table that scripts may not change either.
local function settle_strings(shown)
    getmetatable("").__index = shown.string
end

return make_globals, make_library_globals, run, settle_strings
