// What auth_request asks: 204 with the name of the user if the token is good and has the scope.
function check(r) {
    if (!r.variables.token) {
        r.return(401);
        return;
    }
    r.subrequest('/_authority', reply => {
        if (reply.status != 200) {
            r.return(500);
            return;
        }
        const answer = JSON.parse(reply.responseText);
        if (answer.active !== true) {
            r.return(401);
            return;
        }
        if (!(answer.scope || '').split(' ').includes(r.variables.scope)) {
            r.return(403);
            return;
        }
        r.headersOut['Token-User'] = answer.username;
        r.return(204);
    });
}

export default { check };
