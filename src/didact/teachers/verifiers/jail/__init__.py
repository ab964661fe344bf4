"""What runs inside the sandbox: separate processes that import the standard library only, and nothing of didact.

`walls` takes a process's rights away; `wire` carries plain data between processes that don't trust each other;
`solution` runs the answer, `grader` the tests, `supervise` starts and ends both; `scoring` compares texts.
"""
