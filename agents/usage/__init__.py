"""Usage and billing files: rows, prices and figures, computed by DuckDB. No agent in it.

`load(attachments, choices)` reads all files of a question into one database and returns a `Loaded`. It blocks, so call
it in a thread, and close the result. It raises AgentError `no_usage_data` only if no file has a row.

    loaded.files                one `FileReport` a file: format, rows, period, problems, `notes` for the first lines of
                                an answer (`has_more`, overlaps, money-like columns that are not used), `proposal`
    loaded.notes                what was done with spend that stands in two files
    loaded.assumptions          what was assumed in reading, as sentences for the folded part
    loaded.dimensions           names for "group by" that have a value in some row: a subset of `DIMENSIONS`
    loaded.ask(sql, values)     rows; limited in time and memory; text from a user or a file goes in as values only

Table `usage`: one row a charge or request that counts once (no totals, no parent beside its children, no second export
of the same spend). Columns, NULL where the file does not say:

    file line print             where the row is from; `print` is equal for rows that are equal in the file
    moment ended day            TIMESTAMP (UTC) of the period's start and end; DATE of the start
    provider model sku charge   `charge`: usage, credit, tax, seat, tool; `sku`: the charge's name in the bill
    priced_as rate              id in the price list; id of the rate (0…) that gave `list_usd`
    cost currency               the money that the file says is due (net, billed); never converted
    gross included              list cost in the file, in `currency`; whether the plan includes the row (cost 0)
    list_usd today_usd          tokens at the list price of the day, and at today's
    usd                         `cost` in dollars, else `list_usd`: the spend of a row if all costs are dollars
    requests                    number of calls of a model, NULL or 0 where the file does not count them
    input cached written        tokens: `input` contains `cached` (read) and `written` (all cache writes)
    written_1h output reasoning of `written` those kept one hour; `output` contains `reasoning`
    audio images searches minutes seats     other quantities
    size tier                   input tokens of one request; standard, batch, flex, priority, fast
    status failed retried latency label, flags, milliseconds
    user_label team project api_key feature environment     tags
    trace span parent           ids

Table `other`: the same columns for rows of a bill that are no AI usage (a virtual machine, a tax line), never in a
total of AI spend; `sku` says which service.

A table that no format recognises has `FileReport["proposal"]`: its columns with three sample values and a proposed
meaning each, what a row is, the currency. A form made from it gives a `Choice`, and
`load(attachments, {header_id: choice})` reads the file by it. Without a choice the rows of the file are in `usage` only
if the proposal is certain.
"""

from agents.usage.loaded import DIMENSIONS, FileReport, Loaded, load

__all__ = ["DIMENSIONS", "FileReport", "Loaded", "load"]
