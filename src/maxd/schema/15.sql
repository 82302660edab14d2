-- For what asks for one scope's changes: that of `history_by_number` is over an expression.
CREATE INDEX history_by_scope ON history (network, app, number);
