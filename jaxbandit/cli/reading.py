"""The flags that say how a file of ratings is read, in words. It imports nothing that is slow."""

READING_HELP = {
    "user_column": "column of user ids in a file of your own, by name or as column:1",
    "item_column": "column of item ids",
    "rating_column": "column of ratings",
    "duplicates": "which rating of a pair that is rated twice counts",
    "encoding": "of a text that is no UTF-8, as latin-1",
    "implicit": "no ratings: each row counts as 1, and as many absent pairs, drawn at random, as 0",
}
LOG_HELP = {
    "action_column": "column of the actions taken in a file LOG, by name or as column:1  [default: action]",
    "reward_column": "column of rewards  [default: reward]",
    "propensity_column": "column of the probabilities of these actions when they were taken  [default: propensity]",
    "feature_columns": "columns of users' features, as age,visits  [default: none]",
}
