"""The processes inside the sandbox, which import the standard library only, and nothing of didact.

`walls` drops a process's rights; `wire` carries plain data between processes that don't trust each other;
`solution` runs the model's code, `grader` the tests, `supervise` starts and ends both; `scoring` compares texts.
"""
